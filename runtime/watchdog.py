"""A thread that looks again and again whether its process is stuck, whatever else in it hangs.

Time in which the whole process stood still (SIGSTOP, a frozen machine) does not count.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable


class WatchdogThread(threading.Thread, ABC):
    """Looks four times in `stall_seconds`, and at least once a second. :meth:`stop` it before an orderly stop."""

    def __init__(self, name: str, *, stall_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(name=name, daemon=True)
        self._clock = clock
        self._interval = min(1.0, stall_seconds / 4)
        self._looked_at = clock()
        self._stopping = threading.Event()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def stop(self) -> None:
        """No further look, and whatever the one at work finds ends nothing. Does not wait for it."""
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.wait(self._interval):
            self.look()

    @abstractmethod
    def look(self) -> None:
        """One look; ends the process when it is stuck."""

    def passed(self) -> float:
        """Seconds since the last call. In a gap that is longer than the thread's own nobody else worked either."""
        now = self._clock()
        passed, self._looked_at = min(now - self._looked_at, 2 * self._interval), now
        return passed
