"""Which of an event's copies stays. Pure.

Copies further apart than the processors' window arrive unmarked. The first one received stays, by (received_at_ns, raw
partition, raw offset), which the version column carries inverted: the largest version is the first copy. A copy that lost
once has lost for ever, because the first copy can only be replaced by an even earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise

_RANK_MASK = (1 << 127) - 1
#: Set on the version of a row that corrects the row with the version below it.
CORRECTION = 1


#: tenant, project, Unix nanoseconds, hash of id and content: what makes a row of `events`.
Key = tuple[str, str, int, int]


@dataclass(frozen=True, slots=True)
class Copy:
    """A row of `event_ids`."""

    tenant_id: str
    id_hash: int
    raw_partition: int
    raw_offset: int
    version: int
    project_id: str
    bucket: int
    #: Unix nanoseconds.
    ts_ns: int
    #: Covers id and content: equal for equal content.
    event_hash: int
    #: Hashes of 64 bits meet by accident in a large store, so the id itself decides what is a copy of what.
    event_id: str = ""

    @property
    def key(self) -> Key:
        """The key of its row in `events`; copies with one key are one row there."""
        return (self.tenant_id, self.project_id, self.ts_ns, self.event_hash)

    @property
    def received_ns(self) -> int:
        """Time of receipt, Unix nanoseconds."""
        return ((self.version >> 1) ^ _RANK_MASK) >> 64


@dataclass(frozen=True, slots=True)
class Loss:
    """A copy that lost, and to which."""

    loser: Copy
    winner: Copy

    @property
    def is_resend(self) -> bool:
        """The content is the same."""
        return self.loser.event_hash == self.winner.event_hash

    @property
    def hides_itself(self) -> bool:
        """The engine makes one row of the two anyway."""
        return self.loser.key == self.winner.key


def losses(copies: Iterable[Copy]) -> list[Loss]:
    """What has to be settled among `copies`, any number of ids mixed."""

    def identity(copy: Copy) -> tuple[str, str]:
        return (copy.tenant_id, copy.event_id)

    found: list[Loss] = []
    for _, group in groupby(sorted(copies, key=identity), key=identity):
        winner, *losers = sorted(group, key=lambda copy: copy.version, reverse=True)
        found += [Loss(loser, winner) for loser in losers]
    return found


def version_of(received_ns: int, partition: int, offset: int) -> int:
    """The version the engine computes for a copy (sql/migrations/0001_events.sql)."""
    rank = received_ns << 64 | partition << 48 | offset
    return (rank ^ _RANK_MASK) << 1


def hash_ranges(slices: int) -> list[tuple[int, int]]:
    """Equal parts of the UInt64 range, inclusive bounds."""
    size = (1 << 64) // slices
    bounds = [number * size for number in range(slices)] + [1 << 64]
    return [(low, high - 1) for low, high in pairwise(bounds)]
