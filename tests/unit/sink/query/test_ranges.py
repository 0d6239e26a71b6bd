from __future__ import annotations

import pytest
from chaukas.spec.common.v1.query_pb2 import TimeRange
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidInput
from sink.query.ranges import NsRange, ns_range
from sink.times import MAX_NS, MIN_NS, NANOS, clamp_ns

SECONDS = st.one_of(
    st.integers(-62_135_596_800, 253_402_300_799),
    st.integers(MIN_NS // NANOS - 2, MIN_NS // NANOS + 2),
    st.integers(MAX_NS // NANOS - 2, MAX_NS // NANOS + 2),
)
MOMENTS = st.tuples(SECONDS, st.integers(0, NANOS - 1))


def time_range(start: tuple[int, int] | None, end: tuple[int, int] | None) -> TimeRange:
    made = TimeRange()
    if start is not None:
        made.start.CopyFrom(Timestamp(seconds=start[0], nanos=start[1]))
    if end is not None:
        made.end.CopyFrom(Timestamp(seconds=end[0], nanos=end[1]))
    return made


def holds(bounds: NsRange, stored_ns: int) -> bool:
    return (bounds.start is None or stored_ns >= bounds.start) and (bounds.end is None or stored_ns < bounds.end)


@given(st.none() | MOMENTS, st.none() | MOMENTS, MOMENTS)
def test_a_range_finds_every_event_whose_time_it_holds(
    start: tuple[int, int] | None, end: tuple[int, int] | None, sent: tuple[int, int]
) -> None:
    bounds = ns_range(time_range(start, end), "time")
    stored = clamp_ns(*sent)
    truly = (start is None or sent >= start) and (end is None or sent < end)
    if truly:
        assert holds(bounds, stored)
    elif MIN_NS < stored < MAX_NS:
        assert not holds(bounds, stored)


@given(MOMENTS, MOMENTS, st.integers(MIN_NS, MAX_NS))
def test_an_end_at_or_before_the_start_holds_nothing(a: tuple[int, int], b: tuple[int, int], stored: int) -> None:
    assert not holds(ns_range(time_range(max(a, b), min(a, b)), "time"), stored)


@given(st.none() | MOMENTS, st.none() | MOMENTS)
def test_bounds_are_values_the_engine_takes(start: tuple[int, int] | None, end: tuple[int, int] | None) -> None:
    bounds = ns_range(time_range(start, end), "time")
    for value in (bounds.start, bounds.end):
        assert value is None or MIN_NS <= value <= MAX_NS


def test_no_bounds() -> None:
    assert ns_range(TimeRange(), "time") == NsRange(None, None)


@pytest.mark.parametrize("side", ["start", "end"])
@pytest.mark.parametrize(
    "stamp",
    [
        Timestamp(seconds=-62_135_596_801),
        Timestamp(seconds=253_402_300_800),
        Timestamp(seconds=0, nanos=-1),
        Timestamp(seconds=0, nanos=NANOS),
    ],
)
def test_an_impossible_timestamp_is_named(side: str, stamp: Timestamp) -> None:
    made = TimeRange()
    getattr(made, side).CopyFrom(stamp)
    with pytest.raises(InvalidInput) as caught:
        ns_range(made, "filter.time")
    assert [violation.field for violation in caught.value.violations] == [f"filter.time.{side}"]
