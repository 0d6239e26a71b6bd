"""Ends the process when the writer is stuck, so that its supervisor starts it again.

Stuck is, for SINK_STALL_SECONDS (an insert gets SINK_INSERT_TIMEOUT_SECONDS on top):

1. an insert that never returns, although its time limit passed;
2. a consumer's loop that does not turn;
3. a commit that does not succeed;
4. nothing read, although there is something to read and nothing is being inserted.

Not stuck is a writer that waits for a store that is away, or for Kafka: 2 to 4 count only while Kafka answers the watchdog's own
client. It runs on a thread of its own and needs neither the event loop nor the consumer, whose calls may hang.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.exits import EXIT_STALLED, leave
from runtime.unread import Partition, Since, Unread
from runtime.watchdog import WatchdogThread


@dataclass(slots=True)
class Pulse:
    """What the writer's threads tell of themselves: plain values, each written by one of them."""

    #: Turns of the consumer's loop.
    turns: int = 0
    #: Records read.
    polled: int = 0
    #: Inserts begun; and whether the latest still runs.
    inserts: int = 0
    inserting: bool = False
    #: A batch is on its way into the store, perhaps waiting for it.
    busy: bool = False
    #: Offsets that could not be committed yet are kept.
    uncommitted: bool = False
    #: Next offset to read by assigned partition; None: the first there is.
    positions: dict[Partition, int | None] = field(default_factory=dict)


class Watchdog(WatchdogThread):
    """See the module. :meth:`stop` it before the writer is stopped in order, which has a time limit of its own."""

    def __init__(
        self,
        pulse: Pulse,
        unread: Unread,
        *,
        stall_seconds: float,
        insert_seconds: float,
        leave: Callable[[int, str], object] = leave,
        show: Callable[[float], object] = lambda seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("sink-watchdog", stall_seconds=stall_seconds, clock=clock)
        self._pulse = pulse
        self._unread = unread
        self._stall_seconds = stall_seconds
        self._insert_seconds = insert_seconds
        self._leave = leave
        #: Gets the longest time without progress, seconds, with each look.
        self._show = show
        #: How long the loop or a commit was stuck when Kafka was asked.
        self._asked_at = 0.0
        self._turns, self._insert, self._commit, self._read = Since(), Since(), Since(), Since()

    def look(self) -> None:
        """One look; ends the process when the writer is stuck. Blocks while it asks Kafka."""
        passed = self.passed()
        pulse = self._pulse
        inserting = self._insert.watch((pulse.inserts, pulse.inserting), passed) if pulse.inserting else 0.0
        turning = self._turns.watch(pulse.turns, passed)
        committing = self._commit.watch(pulse.uncommitted, passed) if pulse.uncommitted else 0.0
        reading = self._read.watch((pulse.polled, pulse.busy, tuple(pulse.positions)), passed)
        if not pulse.inserting:
            self._insert = Since()
        if not pulse.uncommitted:
            self._commit = Since()
        if pulse.busy:
            self._read = Since()
            reading = 0.0
        if max(turning, committing) < self._stall_seconds / 4:
            self._asked_at = 0.0
        self._show(max(inserting, turning, committing))
        if self.stopping:
            return
        if inserting > self._stall_seconds + self._insert_seconds:
            self._end(f"an insert has not returned for {inserting:.0f} s")
        elif max(turning, committing, reading) > self._stall_seconds:
            self._look_closer(turning, committing, reading)
        elif max(turning, committing) > self._stall_seconds / 4 + self._asked_at:
            # Now and then meanwhile, too: what Kafka's absence held up gets time of its own when Kafka is back.
            self._asked_at += self._stall_seconds / 4
            self._look_closer(turning, committing, reading)

    def _look_closer(self, turning: float, committing: float, reading: float) -> None:
        left = self._unread(dict(self._pulse.positions))
        if self.stopping:
            return
        if left is not None and turning > self._stall_seconds:
            self._end(f"the consumer has not answered for {turning:.0f} s")
        elif left is not None and committing > self._stall_seconds:
            self._end(f"offsets could not be committed for {committing:.0f} s, although Kafka answers")
        elif left and reading > self._stall_seconds:
            self._end(f"nothing was read for {reading:.0f} s, although {left} records are there")
        elif left is None:
            self._turns, self._commit, self._read = Since(), Since(), Since()
        elif reading > self._stall_seconds:
            self._read = Since()  # nothing to read

    def _end(self, what: str) -> None:
        self._leave(EXIT_STALLED, f"the writer is stuck: {what} (SINK_STALL_SECONDS)")
