"""The store behind the window: nothing within the window is forgotten, and memory stays bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors.window import Recent


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7))), st.integers(1, 12))
def test_within_the_window_it_is_a_dictionary(steps: list[tuple[int, int]], window: int) -> None:
    recent: Recent[int, int] = Recent(window)
    model: dict[int, int] = {}
    offset = 0
    for key, gap in steps:
        offset += gap
        for known, at in model.items():
            if at >= offset - window:
                assert recent.get(known) == at
        recent.put(key, offset, offset)
        model[key] = offset


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7))), st.integers(1, 12))
def test_swap_is_get_and_put(steps: list[tuple[int, int]], window: int) -> None:
    swapped: Recent[int, int] = Recent(window)
    apart: Recent[int, int] = Recent(window)
    offset = 0
    for key, gap in steps:
        offset += gap
        earlier = apart.get(key)
        apart.put(key, offset, offset)
        assert swapped.swap(key, offset, offset) == earlier
        assert len(swapped) == len(apart)


def test_it_holds_at_most_a_third_more() -> None:
    recent: Recent[int, int] = Recent(100)
    for offset in range(10_000):
        recent.put(offset, offset, offset)
        assert len(recent) <= 4 * 34
