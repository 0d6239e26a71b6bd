"""Following a query: what appears in it, each event once.

Answers are ordered by the events' own times, and events arrive late: so each poll reads again what lies a little before the newest
seen, and now and then all of the look-back; ids that were shown are not shown again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from chaukas.spec.common.v1 import events_pb2

#: What every poll reads again, seconds before the newest event seen.
OVERLAP_SECONDS = 5.0
#: How often the whole look-back is read, seconds.
FULL_SECONDS = 10.0

#: Pages of events not before a time (Unix nanoseconds), oldest first.
Read = Callable[[int], Iterator[Sequence[events_pb2.Event]]]


@dataclass(slots=True)
class Follower:
    """`lookback_seconds`: an event whose time is further behind the newest one (or now) when it becomes visible is missed.

    Memory: one id for each event within the look-back.
    """

    read: Read
    lookback_seconds: float
    #: Unix nanoseconds.
    clock: Callable[[], int]
    _seen: dict[str, int] = field(default_factory=dict)
    #: Counts full reads.
    _round: int = 0
    _newest_ns: int | None = None
    _full_at_ns: int = 0

    def prime(self) -> None:
        """Take what is there as seen. Raises what `read` raises."""
        self._full_at_ns = self.clock()
        self._round += 1
        for _ in self._fresh(self._from(self.lookback_seconds)):
            pass

    def shown(self, events: Sequence[events_pb2.Event]) -> None:
        """Take these, which were shown by other means, as seen."""
        for event in events:
            self._seen.setdefault(event.event_id, self._round)

    def poll(self) -> Iterator[Sequence[events_pb2.Event]]:
        """What was not seen before, oldest first. Raises what `read` raises; events of a failed page come with the next poll."""
        now = self.clock()
        full = now - self._full_at_ns >= FULL_SECONDS * 1e9
        if full:
            self._round += 1
        yield from self._fresh(
            self._from(self.lookback_seconds if full else min(OVERLAP_SECONDS, self.lookback_seconds))
        )
        if full:
            self._full_at_ns = now
            # What a whole look-back no longer holds lies before it, for good.
            self._seen = {event_id: seen for event_id, seen in self._seen.items() if seen >= self._round}

    def _from(self, back_seconds: float) -> int:
        now = self.clock()
        # An event dated into the future must not hide those of now.
        newest = now if self._newest_ns is None else min(self._newest_ns, now)
        return newest - int(back_seconds * 1e9)

    def _fresh(self, since_ns: int) -> Iterator[Sequence[events_pb2.Event]]:
        for page in self.read(since_ns):
            fresh = []
            for event in page:
                if event.event_id not in self._seen:
                    fresh.append(event)
                self._seen[event.event_id] = self._round
                ns = event.timestamp.seconds * 1_000_000_000 + event.timestamp.nanos
                self._newest_ns = max(ns, self._newest_ns or 0)
            if fresh:
                yield fresh
