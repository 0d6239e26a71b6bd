"""A rate with a burst tells exactly how long to wait."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from runtime.rate_limit import RateLimit, RateTable

RATES = st.floats(0.1, 1e7)
AMOUNTS = st.floats(0.001, 1e6)


def test_a_burst_passes_and_then_the_rate() -> None:
    limit = RateLimit(10.0, 20.0)
    assert limit.wait(20, 100.0) == 0.0
    limit.take(20, 100.0)
    assert math.isclose(limit.wait(1, 100.0), 0.1)
    assert math.isclose(limit.wait(20, 100.0), 2.0)
    assert math.isclose(limit.wait(20, 101.0), 1.0)
    assert limit.wait(20, 102.0) == 0.0


def test_more_than_the_burst_passes_when_all_is_there_and_is_owed_afterwards() -> None:
    limit = RateLimit(10.0, 20.0)
    limit.take(1, 0.0)
    assert math.isclose(limit.wait(100, 0.0), 0.1)
    limit.take(100, 0.1)
    assert math.isclose(limit.wait(1, 0.1), 8.1)


def test_what_is_given_back_was_never_taken() -> None:
    limit = RateLimit(10.0, 20.0)
    limit.take(15, 0.0)
    limit.take(5, 0.0)
    limit.give_back(5)
    assert limit.wait(5, 0.0) == 0.0
    assert limit.wait(6, 0.0) > 0.0


@given(RATES, st.floats(1.0, 1e6), st.lists(st.tuples(AMOUNTS, st.floats(0.0, 5.0)), max_size=30))
def test_never_more_than_burst_and_rate_and_the_wait_is_exact(
    rate: float, burst: float, calls: list[tuple[float, float]]
) -> None:
    limit = RateLimit(rate, burst)
    now, passed, largest = 0.0, 0.0, 0.0
    for amount, pause in calls:
        now += pause
        wait = limit.wait(amount, now)
        if wait > 0.0:
            assert wait < 1e-4 or limit.wait(amount, now + wait * 0.9) > 0.0, "not earlier"
            now += wait * (1 + 1e-6) + 1e-9
            assert limit.wait(amount, now) < 1e-6, "and not later"
        limit.take(amount, now)
        passed += amount
        largest = max(largest, amount)
        assert passed <= burst + rate * now * 1.001 + largest + 1e-3


def test_a_table_forgets_those_that_owe_nothing_first() -> None:
    table = RateTable(4)
    limits = {name: table.limit(name, 1.0, 10.0) for name in "abcd"}
    assert not table.make_room("abcd", 0.0)
    for name in "ac":
        limits[name].take(5, 0.0)
    assert table.make_room("de", 1.0)
    assert [table.limit(name, 1.0, 10.0) is limits[name] for name in "acdb"] == [True, True, True, False]


def test_a_table_of_debtors_forgets_the_oldest_but_not_who_asks() -> None:
    table = RateTable(3)
    limits = {name: table.limit(name, 1.0, 10.0) for name in "abc"}
    for limit in limits.values():
        limit.take(5, 0.0)
    assert table.make_room("ade", 1.0)
    assert len(table) == 1
    assert table.limit("a", 1.0, 10.0) is limits["a"]


def test_another_rate_of_one_name_begins_full() -> None:
    table = RateTable(3)
    table.limit("a", 1.0, 10.0).take(10, 0.0)
    assert table.limit("a", 1.0, 10.0).wait(1, 0.0) > 0
    assert table.limit("a", 1.0, 20.0).wait(20, 0.0) == 0
