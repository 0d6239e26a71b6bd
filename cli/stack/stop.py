"""`down`: from a stack, in whatever state it is, to nothing left running. Data stays."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from cli.stack.control import Control, ControlUnavailable
from cli.stack.directory import exclusive
from cli.stack.errors import StackError
from cli.stack.processes import members, stop_all
from cli.stack.record import Record, load_record
from cli.stack.ui import Reporter

_MARGIN_SECONDS = 5.0
_LEFTOVER_GRACE_SECONDS = 10.0


def stop(directory: Path, report: Reporter) -> bool:
    """Stop the stack in `directory`. Blocks until nothing of it is left, at most as long as its programs' stop times allow.

    Returns whether there was anything to stop. Raises StackError. Interrupted (KeyboardInterrupt), it kills what is left.
    """
    if not directory.is_dir():
        return False
    with exclusive(directory):
        record = load_record(directory)
        if (record is None or not record.alive) and not members(directory):
            return False
        with report.step("Stopping gateway, processors, sink and Kafka", "Stopped"):
            try:
                stop_processes(directory, record)
            except KeyboardInterrupt:
                stop_all(directory, grace_seconds=0)
        return True


def stop_processes(directory: Path, record: Record | None) -> None:
    """Stop in order where the supervisor still can; then whatever is left. Blocks. Raises StackError, OSError."""
    if record is not None and record.alive:
        # A supervisor that does not answer is among the left-overs below.
        with suppress(ControlUnavailable):
            Control(Path(record.socket)).shutdown()
            deadline = time.monotonic() + record.stop_seconds + _MARGIN_SECONDS
            while record.alive and time.monotonic() < deadline:
                time.sleep(0.1)
    stop_all(directory, grace_seconds=_LEFTOVER_GRACE_SECONDS)
    if left := members(directory):
        raise StackError(f"these processes of the stack could not be stopped: {left}")
    if record is not None:
        socket = Path(record.socket)
        socket.unlink(missing_ok=True)
        if socket.parent != directory:
            with suppress(OSError):  # gone already, or somebody keeps something there
                socket.parent.rmdir()
        record.stopped().save(directory)
