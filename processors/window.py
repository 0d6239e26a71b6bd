"""The window: what is remembered of a partition's recent records, bounded by offsets and by nothing else.

Everything derived is a pure function of a record and of the records before it in its raw partition. Two levels keep that
true with bounded state (W = the window, in offsets of one partition):

1. :func:`mark`: a record whose (tenant, event id) was seen within the W offsets before it is marked a re-send or a
   conflict of the nearest such copy. Every copy, marked or not, updates this index.
2. Pairing, facts and pick-ups (``pair.py``, ``mcp_calls.py``, ``handoffs.py``) see only unmarked records within the W
   offsets before the record at hand.

So an output depends on the 2W records before it, and a worker that takes a partition over reads exactly those back. State
is remembered a little longer than W (see :class:`Recent`); whoever looks something up compares its offset with
:meth:`Window.oldest`, so how long it is really kept shows nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from processors.intake import Incoming

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The latest value per key, kept for at least `window` and at most 2 x `window` offsets after it was put.

    Two generations of dictionaries: constant time, no queue beside the dictionary, no scan to forget.
    """

    __slots__ = ("_old", "_turn_at", "_window", "_young")

    def __init__(self, window: int) -> None:
        self._window = window
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self._turn_at = -1

    def advance(self, offset: int) -> None:
        """Call with each record's offset, before anything is put for it."""
        if offset >= self._turn_at:
            if self._turn_at >= 0:
                self._old, self._young = self._young, {}
            self._turn_at = offset + self._window

    def get(self, key: K) -> V | None:
        value = self._young.get(key)
        return value if value is not None else self._old.get(key)

    def put(self, key: K, value: V) -> None:
        self._young[key] = value

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


@dataclass(frozen=True, slots=True)
class Window:
    """W, and which offsets a record sees."""

    offsets: int

    def oldest(self, offset: int) -> int:
        """The smallest offset the record at `offset` may be related to."""
        return offset - self.offsets


@dataclass(slots=True)
class Copy:
    """What level 1 remembers of the latest copy of an event id."""

    offset: int
    canonical_sha256: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """Level 1's word on a copy: one of the two is set, to the raw offset of the nearest earlier copy."""

    resend_of: int | None = None
    conflicts_with: int | None = None


class Ids:
    """State of level 1."""

    __slots__ = ("copies", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        self.copies: Recent[tuple[str, str], Copy] = Recent(window.offsets)


def mark(state: Ids, event: Incoming) -> Mark | None:
    """Level 1: the mark when this record is a copy of one within the window. Either way it is the latest copy now."""
    copies = state.copies
    copies.advance(event.offset)
    key = (event.tenant_id, event.event_id)
    earlier = copies.get(key)
    copies.put(key, Copy(event.offset, event.canonical_sha256))
    if earlier is None or earlier.offset < state.window.oldest(event.offset):
        return None
    if earlier.canonical_sha256 == event.canonical_sha256:
        return Mark(resend_of=earlier.offset)
    return Mark(conflicts_with=earlier.offset)
