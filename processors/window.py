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

#: 128 bits of a sha-256: nobody finds two contents with the same.
_DIGEST_BYTES = 16
_DIGEST_BITS = 8 * _DIGEST_BYTES
_DIGEST_MASK = (1 << _DIGEST_BITS) - 1

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The latest value per key, kept for at least `window` offsets after it was put and, as long as others are put, for a
    third of that more at most.

    Four generations of dictionaries, the oldest dropped whole: no queue beside the dictionary, no scan to forget. Keys are
    best strings: those keep their hash, where a tuple computes it for each generation again.
    """

    __slots__ = ("_first", "_fourth", "_second", "_step", "_third", "_turn_at")

    def __init__(self, window: int) -> None:
        #: Offsets a generation takes; three together cover the window whenever the fourth is dropped.
        self._step = -(-window // 3)
        self._turn_at = -1
        # Youngest first. Names instead of a list: looking up is most of what this class costs.
        self._first: dict[K, V] = {}
        self._second: dict[K, V] = {}
        self._third: dict[K, V] = {}
        self._fourth: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        value = self._first.get(key)
        if value is None:
            value = self._second.get(key)
            if value is None:
                value = self._third.get(key)
                if value is None:
                    value = self._fourth.get(key)
        return value

    def put(self, key: K, value: V, offset: int) -> None:
        """`offset` is that of the record at hand; it never falls from one call to the next."""
        if offset >= self._turn_at:
            if self._turn_at >= 0:
                self._fourth, self._third, self._second, self._first = self._third, self._second, self._first, {}
            self._turn_at = offset + self._step
        self._first[key] = value

    def swap(self, key: K, value: V, offset: int) -> V | None:
        """:meth:`put`, and what :meth:`get` gave before: in one call, because it is made for every record."""
        earlier = self._first.get(key)
        if earlier is None:
            earlier = self._second.get(key)
            if earlier is None:
                earlier = self._third.get(key)
                if earlier is None:
                    earlier = self._fourth.get(key)
        if offset >= self._turn_at:
            self.put(key, value, offset)
        else:
            self._first[key] = value
        return earlier

    def __len__(self) -> int:
        return len(self._first) + len(self._second) + len(self._third) + len(self._fourth)


@dataclass(frozen=True, slots=True)
class Window:
    """W, and which offsets a record sees."""

    offsets: int

    def oldest(self, offset: int) -> int:
        """The smallest offset the record at `offset` may be related to."""
        return offset - self.offsets


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
        #: By tenant and event id: the latest copy's offset and the first half of its canonical sha-256, in one integer
        #: (most of the window's memory is here, and an object for each would be twice as large).
        self.copies: Recent[str, int] = Recent(window.offsets)


def mark(state: Ids, event: Incoming) -> Mark | None:
    """Level 1: the mark when this record is a copy of one within the window. Either way it is the latest copy now."""
    key, at = event.id_key, event.offset
    digest = int.from_bytes(event.canonical_sha256[:_DIGEST_BYTES])
    earlier = state.copies.swap(key, at << _DIGEST_BITS | digest, at)
    if earlier is None:
        return None
    offset = earlier >> _DIGEST_BITS
    if offset < state.window.oldest(at):
        return None
    return Mark(resend_of=offset) if earlier & _DIGEST_MASK == digest else Mark(conflicts_with=offset)
