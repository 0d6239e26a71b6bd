"""librdkafka's own log lines, at a rate a person can read.

A broker that is away makes every connection attempt an error line, some twenty a second for each client; and the gapless
guarantee is announced as experimental at every start. The first line of a kind passes, then one in :data:`QUIET_SECONDS`.
"""

from __future__ import annotations

import logging
import re
import time

#: Between two lines of one kind about one broker.
QUIET_SECONDS = 30.0
#: Most kinds remembered; brokers and facilities are few.
_MOST_KINDS = 500


class OnePerKind(logging.Filter):
    """Lets a line through when none of its kind (its text without numbers) came through lately."""

    def __init__(self, quiet_seconds: float = QUIET_SECONDS) -> None:
        super().__init__()
        self._quiet_seconds = quiet_seconds
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "enable.gapless.guarantee is experimental" in text:
            return False
        kind = re.sub(r"\d+", "0", text)
        now = time.monotonic()
        if now - self._last.get(kind, -self._quiet_seconds) < self._quiet_seconds:
            return False
        if len(self._last) >= _MOST_KINDS:
            self._last.clear()
        self._last[kind] = now
        return True


def kafka_logger() -> logging.Logger:
    """The logger to give to every confluent-kafka client of this process."""
    return _LOGGER


_LOGGER = logging.getLogger("kafka")
_LOGGER.addFilter(OnePerKind())
