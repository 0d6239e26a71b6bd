from __future__ import annotations

import unicodedata

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from cli.render.text import clean, count, dollars, duration, moments, percent, plural, shorten


@given(st.text(alphabet=st.characters()))
def test_a_cleaned_text_commands_no_terminal(text: str) -> None:
    cleaned = clean(text)
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in cleaned)
    assert not any(
        unicodedata.bidirectional(c) in ("RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI") for c in cleaned
    )
    assert clean(cleaned) == cleaned


def test_ordinary_text_stays() -> None:
    assert clean(" Grüße, 東京 ✔\n\tline ") == "Grüße, 東京 ✔ line"


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, ""),
        (0, "0.0 ms"),
        (0.04, "0.0 ms"),
        (9.94, "9.9 ms"),
        (9.96, "10 ms"),
        (999.4, "999 ms"),
        (999.6, "1.00 s"),
        (59_994, "59.99 s"),
        (59_996, "1m 00s"),
        (3_599_499, "59m 59s"),
        (3_599_500, "1h 00m"),
        (86_399_000, "23h 59m"),
        (90_000_000, "1d 01h"),
        (-12, "-12 ms"),
    ],
)
def test_durations(ms: float | None, text: str) -> None:
    assert duration(ms) == text


@given(st.floats(-1e15, 1e15))
def test_a_duration_is_short(ms: float) -> None:
    assert 4 <= len(duration(ms)) <= 14


def stamp(seconds: int, nanos: int = 0) -> Timestamp:
    return Timestamp(seconds=seconds, nanos=nanos)


def test_a_day_that_all_times_share_is_said_once() -> None:
    day = 1_769_817_600
    assert moments([stamp(day + 1, 5_000_000), stamp(day + 2)]) == ("2026-01-31 UTC", ["00:00:01.005", "00:00:02.000"])
    heading, times = moments([stamp(day), stamp(day - 1)])
    assert (heading, times) == ("time (UTC)", ["2026-01-31 00:00:00.000", "2026-01-30 23:59:59.000"])
    assert moments([stamp(day), Timestamp()]) == ("2026-01-31 UTC", ["00:00:00.000", "-"])


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1))
def test_any_time_can_be_shown(seconds: int, nanos: int) -> None:
    _, (text,) = moments([stamp(seconds, nanos)])
    assert text


def test_numbers() -> None:
    assert [percent(*pair) for pair in [(0, 0), (0, 5), (1, 3), (1, 1000), (999, 1000), (5, 5)]] == [
        "",
        "0 %",
        "33 %",
        "0.1 %",
        "99.9 %",
        "100 %",
    ]
    assert [plural(1, "event"), plural(2000, "event"), count(12345)] == ["1 event", "2,000 events", "12,345"]
    assert [dollars(0.00123), dollars(12.5)] == ["$0.0012", "$12.50"]
    assert [shorten("abcdef", 6), shorten("abcdef", 4)] == ["abcdef", "abc…"]
