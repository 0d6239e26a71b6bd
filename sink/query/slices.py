"""Where a page is looked for first: slices of time, next to where it starts. Pure.

Reading newest-first over several projects, or through an index, the engine looks at everything that matches before it sorts.
A page is mostly found within the last hours, so the order's first column, a time, is cut into consecutive slices that grow, and
the first ones that hold enough rows are all that is read. Slices only decide how much is read: together they are the
range that was asked for, in the page's order, so the rows found are the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from sink.query.ranges import NsRange
from sink.times import MAX_NS, MIN_NS

#: The first slice where nothing is known, and how much longer the next one is.
FIRST_NS, GROWTH = 3_600 * 10**9, 16
SHORTEST_NS = 60 * 10**9
#: A slice longer than this is the whole rest.
_LONGEST_NS = 400 * 86_400 * 10**9
#: Queries remembered.
_MAX_HINTS = 4_096


@dataclass(frozen=True, slots=True)
class Hint:
    """What the last page of a query showed."""

    #: Time of the last row of its first page: the next first page is not far behind it.
    edge_ns: int | None = None
    #: Time that a page covered.
    width_ns: int = FIRST_NS
    #: Slices held too little: look at the whole range at once.
    whole: bool = False


class Hints:
    """Hints by query, the most recent ones."""

    def __init__(self) -> None:
        self._hints: OrderedDict[bytes, Hint] = OrderedDict()

    def get(self, query: bytes) -> Hint:
        return self._hints.get(query, Hint())

    def learn(self, query: bytes, wanted: int, times: list[int], after_ns: int | None) -> None:
        """`times`: of the rows found, in order; `after_ns`: where the page started, None for a first page."""
        old = self.get(query)
        if len(times) < wanted:
            if after_ns is not None:
                return  # the last page of some
            new = Hint(old.edge_ns, old.width_ns, whole=True)
        else:
            width = max(abs(times[-1] - (times[0] if after_ns is None else after_ns)), 1)
            new = Hint(times[-1] if after_ns is None else old.edge_ns, width)
        self._hints[query] = new
        self._hints.move_to_end(query)
        if len(self._hints) > _MAX_HINTS:
            self._hints.popitem(last=False)


def slices(bounds: NsRange, after_ns: int | None, now_ns: int, ascending: bool, hint: Hint) -> Iterator[NsRange]:
    """Consecutive parts of `bounds` from `after_ns` (inclusive) on, in the page's order; together they are all of it.

    `now_ns` is where a first page newest first is looked for when nothing is known; oldest first, it is the whole range.
    """
    start = MIN_NS if bounds.start is None else bounds.start
    end = MAX_NS + 1 if bounds.end is None else bounds.end
    width = max(hint.width_ns * 2, SHORTEST_NS)
    if after_ns is not None:
        base = after_ns
    elif hint.edge_ns is not None:
        base = hint.edge_ns
    else:
        base, width = (end if ascending else min(now_ns, end)), FIRST_NS
    if ascending:
        low, high = start, end if hint.whole else base + width
    else:
        low, high = start if hint.whole else base - width, end
    while True:
        if width > _LONGEST_NS:
            low, high = (low, end) if ascending else (start, high)
        low, high = max(low, start), min(high, end)
        # Where there was no bound there is none, so that one statement serves the whole range.
        if low < high:
            yield NsRange(None if low == MIN_NS else low, None if high == MAX_NS + 1 else high)
        width *= GROWTH
        if ascending:
            if high >= end:
                return
            low, high = high, high + width
        else:
            if low <= start:
                return
            low, high = low - width, low
