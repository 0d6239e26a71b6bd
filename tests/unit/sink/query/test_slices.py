from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from sink.query.ranges import NsRange
from sink.query.slices import SHORTEST_NS, Hint, Hints, slices
from sink.times import MAX_NS, MIN_NS

NOW = 1_750_000_000 * 10**9
TIMES = st.integers(MIN_NS, MAX_NS) | st.integers(NOW - 10**16, NOW + 10**16)
HINTS = st.builds(Hint, st.none() | TIMES, st.integers(1, 10**18), st.booleans())


@given(st.none() | TIMES, st.none() | TIMES, st.none() | TIMES, st.booleans(), HINTS)
def test_slices_are_the_range_in_order_without_gap_or_overlap(
    start: int | None, end: int | None, after: int | None, ascending: bool, hint: Hint
) -> None:
    made = list(slices(NsRange(start, end), after, NOW, ascending, hint))
    low, high = (MIN_NS if start is None else start), (MAX_NS + 1 if end is None else end)
    edges = [(MIN_NS if one.start is None else one.start, MAX_NS + 1 if one.end is None else one.end) for one in made]
    if not ascending:
        edges = [(-after_end, -before) for before, after_end in edges]
        low, high = -high, -low
    assert all(first < last for first, last in edges)
    assert all(this[1] == following[0] for this, following in itertools.pairwise(edges))
    if low < high:
        assert (edges[0][0], edges[-1][1]) == (low, high)
    else:
        assert edges == []
    assert len(made) < 10


def test_the_next_first_page_is_looked_for_where_the_last_one_ended() -> None:
    hints = Hints()
    hints.learn(b"q", 3, [NOW, NOW - 5, NOW - 10], None)
    first = next(iter(slices(NsRange(), None, NOW, False, hints.get(b"q"))))
    assert first == NsRange(NOW - 10 - SHORTEST_NS, None)


def test_a_query_with_fewer_rows_than_a_page_is_asked_at_once() -> None:
    hints = Hints()
    hints.learn(b"q", 3, [NOW], None)
    assert list(slices(NsRange(), None, NOW, False, hints.get(b"q"))) == [NsRange()]


def test_only_recent_queries_are_remembered() -> None:
    hints = Hints()
    for number in range(5_000):
        hints.learn(str(number).encode(), 1, [NOW], None)
    assert hints.get(b"0") == Hint()
    assert hints.get(b"4999").edge_ns == NOW
