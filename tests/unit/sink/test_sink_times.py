from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sink.times import MAX_NS, MIN_NS, NANOS, OVERFLOW_BUCKET, OVERFLOW_NS, Buckets, clamp_ns

DAY = 86_400 * NANOS
JUNE = int(datetime(2025, 6, 1, tzinfo=UTC).timestamp()) * NANOS


def test_times_are_clamped_to_what_the_store_holds() -> None:
    assert clamp_ns(-62_135_596_800, 0) == MIN_NS
    assert clamp_ns(253_402_300_799, 999_999_999) == MAX_NS
    assert clamp_ns(1, 5) == NANOS + 5


@pytest.mark.parametrize(
    ("ts", "received", "bucket"),
    [
        (JUNE, JUNE, 202506),
        (JUNE - 1, JUNE, 202505),
        (JUNE, JUNE + OVERFLOW_NS, 202506),
        (JUNE, JUNE + OVERFLOW_NS + 1, OVERFLOW_BUCKET),
        (JUNE + OVERFLOW_NS + 1, JUNE, OVERFLOW_BUCKET),
    ],
)
def test_buckets_are_months_near_the_receipt(ts: int, received: int, bucket: int) -> None:
    assert Buckets().bucket(ts, received) == bucket


@given(st.integers(0, MAX_NS), st.integers(-OVERFLOW_NS, OVERFLOW_NS))
def test_a_bucket_is_the_month_of_the_time(received: int, skew: int) -> None:
    ts = max(received + skew, 0)
    date = datetime.fromtimestamp(ts // NANOS, UTC)
    assert Buckets().bucket(ts, received) == date.year * 100 + date.month


def test_any_clock_makes_few_partitions() -> None:
    buckets = Buckets()
    made = {buckets.bucket(number * DAY * 7, JUNE) for number in range(-3000, 10_000)}
    assert len(made) <= 4
