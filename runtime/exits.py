"""Leaving the process at once, without the graceful stop that could still produce or commit something."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
from typing import NoReturn

from runtime import starts

logger = logging.getLogger(__name__)

#: Status of the stall watchdogs (EX_TEMPFAIL): restart me.
EXIT_STALLED = 75


def leave(status: int, reason: str) -> NoReturn:
    """Log `reason`, write all threads' stacks to stderr when the process is stuck, exit with `status`."""
    logger.critical("leaving the process with status %d: %s", status, reason)
    starts.note_end(status)
    for handler in logging.getLogger().handlers:
        handler.flush()
    if status == EXIT_STALLED and sys.__stderr__ is not None:
        # Not sys.stderr: Faust may have replaced it by a log proxy, which has no file descriptor.
        faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)
    os._exit(status)
