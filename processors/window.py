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

_GENERATIONS = 4

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The latest value per key, kept for at least `window` offsets after it was put, and for a third of that more at most.

    A few generations of dictionaries, the oldest dropped whole: no queue beside the dictionary, no scan to forget.
    """

    __slots__ = ("_generations", "_step", "_turn_at", "_young")

    def __init__(self, window: int) -> None:
        #: Offsets a generation takes; the others together cover the window whenever the oldest is dropped.
        self._step = -(-window // (_GENERATIONS - 1))
        self._young: dict[K, V] = {}
        #: Youngest first.
        self._generations: list[dict[K, V]] = [self._young]
        self._turn_at = -1

    def advance(self, offset: int) -> None:
        """Call with each record's offset, before anything is put for it."""
        if offset < self._turn_at:
            return
        if self._turn_at >= 0:
            self._young = {}
            self._generations = [self._young, *self._generations[: _GENERATIONS - 1]]
        self._turn_at = offset + self._step

    def get(self, key: K) -> V | None:
        for generation in self._generations:
            value = generation.get(key)
            if value is not None:
                return value
        return None

    def put(self, key: K, value: V) -> None:
        self._young[key] = value

    def __len__(self) -> int:
        return sum(map(len, self._generations))


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
    copies = state.copies
    copies.advance(event.offset)
    key = f"{len(event.tenant_id)}:{event.tenant_id}{event.event_id}"
    digest = int.from_bytes(event.canonical_sha256[:_DIGEST_BYTES])
    earlier = copies.get(key)
    copies.put(key, event.offset << _DIGEST_BITS | digest)
    if earlier is None:
        return None
    offset = earlier >> _DIGEST_BITS
    if offset < state.window.oldest(event.offset):
        return None
    return Mark(resend_of=offset) if earlier & _DIGEST_MASK == digest else Mark(conflicts_with=offset)
