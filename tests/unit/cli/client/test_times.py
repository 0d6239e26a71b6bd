from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.client.times import parse_age, parse_time

NOW_NS = 1_790_000_000_123_456_789
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@given(st.lists(st.tuples(st.integers(0, 9999), st.sampled_from(sorted(UNITS))), min_size=1, max_size=4))
def test_an_age_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert parse_age(text) == sum(number * UNITS[unit] for number, unit in parts)


@given(st.integers(0, 10**6), st.sampled_from(sorted(UNITS)))
def test_an_age_counts_back_from_now(number: int, unit: str) -> None:
    ns = NOW_NS - number * UNITS[unit] * 10**9
    if ns >= -62_135_596_800 * 10**9:
        assert parse_time(f"{number}{unit.upper()}", NOW_NS).ToNanoseconds() == ns


@given(st.datetimes(timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=-5, minutes=-30))])))
def test_every_rfc_3339_time_is_read_exactly(moment: dt.datetime) -> None:
    expected = (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1) * 1000
    try:
        read = parse_time(moment.isoformat(), NOW_NS)
    except ValueError:
        # Only what lies outside the years a protobuf timestamp has, once the offset is applied.
        assert not -62_135_596_800 * 10**9 <= expected < 253_402_300_800 * 10**9
    else:
        assert read.seconds * 10**9 + read.nanos == expected


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [
        ("2026-01-31", 1_769_817_600, 0),
        ("2026-01-31T12:00", 1_769_860_800, 0),
        ("2026-01-31 12:00:00", 1_769_860_800, 0),
        ("2026-01-31T12:00:00.123456789Z", 1_769_860_800, 123_456_789),
        ("2026-01-31t13:00:00+01:00", 1_769_860_800, 0),
        ("now", 1_790_000_000, 123_456_789),
        ("1h30m", 1_789_994_600, 123_456_789),
    ],
)
def test_forms(text: str, seconds: int, nanos: int) -> None:
    read = parse_time(text, NOW_NS)
    assert (read.seconds, read.nanos) == (seconds, nanos)


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "15", "m", "15 m", "-15m", "1.5h", "2026-02-30", "2026-01-31T25:00:00Z", "١٥m", "99999999w"],
)
def test_what_is_no_time_is_said_with_what_was_given(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time|before the year 1") as caught:
        parse_time(text, NOW_NS)
    assert repr(text) in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    try:
        parse_time(text, NOW_NS)
    except ValueError:
        pass
