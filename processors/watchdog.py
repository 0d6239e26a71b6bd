"""Ends the process when it reads nothing although there is something to read.

The transport's own watchdog sees work that is not finished. What it cannot see is a consumer that brings no work at all: joined,
assigned, and silent. So, when nothing was read for PROCESSORS_STALL_SECONDS and nothing is in work, a thread asks the brokers with
a client of its own whether there is anything behind what was read. While Kafka does not answer, nothing is stuck.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from processors.transport import BatchApp, Lease
from runtime.exits import EXIT_STALLED, leave
from runtime.unread import Partition, Since, Unread
from runtime.watchdog import WatchdogThread


class Idle(NamedTuple):
    """A consumer that has nothing in work."""

    #: Records finished so far.
    finished: int
    #: Next offset to read by assigned partition, where it is known.
    positions: dict[Partition, int | None]


def idle(app: BatchApp) -> Idle | None:
    """None while it works, or has not joined. Callable from any thread."""
    consumer = app.batch_consumer
    if consumer is None or not consumer.joined or consumer.ledger.batches:
        return None
    leases = list(consumer.ledger.leases.items())
    positions: dict[Partition, int | None] = {
        (tp.topic, tp.partition): position for tp, lease in leases if (position := _position(lease)) is not None
    }
    return Idle(consumer.ledger.records_finished, positions)


def _position(lease: Lease) -> int | None:
    """Next offset to read; None when it is not known."""
    return lease.next_fetch if lease.next_fetch >= 0 else lease.committed


class ReadWatchdog(WatchdogThread):
    """See the module. `look` as :func:`idle`."""

    def __init__(
        self,
        look: Callable[[], Idle | None],
        unread: Unread,
        *,
        stall_seconds: float,
        leave: Callable[[int, str], object] = leave,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("read-watchdog", stall_seconds=stall_seconds, clock=clock)
        self._look = look
        self._unread = unread
        self._stall_seconds = stall_seconds
        self._leave = leave
        self._since = Since()

    def look(self) -> None:
        """One look; ends the process when the consumer is stuck. Blocks while it asks Kafka."""
        passed = self.passed()
        found = self._look()
        if found is None:
            self._since = Since()
            return
        seconds = self._since.watch((found.finished, sorted(found.positions.items())), passed)
        if seconds <= self._stall_seconds or not found.positions:
            return
        left = self._unread(found.positions)
        if left and not self.stopping:
            self._leave(
                EXIT_STALLED,
                f"the consumer is stuck: nothing was read for {seconds:.0f} s, although {left} records are there "
                "(PROCESSORS_STALL_SECONDS)",
            )
        self._since = Since()
