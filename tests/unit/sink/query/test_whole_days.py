from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sink.query.ranges import NsRange
from sink.query.stats import is_one_day, whole_days
from sink.times import MAX_NS, MIN_NS

DAY_NS = 86_400 * 10**9
BOUNDS = st.none() | st.integers(MIN_NS, MAX_NS) | st.integers(-3, 3).map(lambda day: day * DAY_NS)


@given(BOUNDS, BOUNDS)
def test_whole_days_are_the_days_within_the_bounds(start: int | None, end: int | None) -> None:
    days = whole_days(NsRange(start, end))
    if days:
        assert start is None or days.start * DAY_NS >= start
        assert end is None or days.stop * DAY_NS <= end
        # The days before and behind are not within.
        assert start is None or (days.start - 1) * DAY_NS < start
        assert end is None or (days.stop + 1) * DAY_NS > end
    elif start is not None and end is not None and start < end:
        assert (-(-start // DAY_NS) + 1) * DAY_NS > end
    if start is None:
        assert days.start * DAY_NS <= MIN_NS
    if end is None:
        assert days.stop * DAY_NS > MAX_NS


def test_a_day_is_whole_from_its_first_to_its_last_nanosecond() -> None:
    assert whole_days(NsRange(DAY_NS, 2 * DAY_NS)) == range(1, 2)
    assert not whole_days(NsRange(DAY_NS + 1, 2 * DAY_NS))
    assert not whole_days(NsRange(DAY_NS, 2 * DAY_NS - 1))


@given(BOUNDS, BOUNDS)
def test_one_day_is_exactly_that(start: int | None, end: int | None) -> None:
    bounds = NsRange(start, end)
    exactly = start is not None and end is not None and start % DAY_NS == 0 and end == start + DAY_NS
    assert is_one_day(bounds, whole_days(bounds)) == exactly
