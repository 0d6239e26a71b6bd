from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from contracts.dead_letters import SourceRecord
from sink.batch import WAIT_PER_INSERT, Batch, BatchPolicy

POLICY = BatchPolicy(max_rows=3, max_bytes=100, max_age_seconds=1.0)


def record(offset: int, partition: int = 0, size: int = 1) -> SourceRecord:
    return SourceRecord("t", partition, offset, None, b"x" * size, (), 0)


def test_an_empty_batch_is_never_due() -> None:
    assert not POLICY.is_due(Batch(), 1e9)


def test_rows_bytes_and_age_close_a_batch() -> None:
    batch = Batch()
    batch.add(record(0), 10.0)
    assert not POLICY.is_due(batch, 10.9)
    assert POLICY.is_due(batch, 11.0)
    batch.add(record(1), 10.5)
    assert not POLICY.is_full(batch)
    batch.add(record(2), 10.6)
    assert POLICY.is_full(batch)
    assert POLICY.is_due(batch, 10.6)
    heavy = Batch()
    heavy.add(record(0, size=100), 0.0)
    assert POLICY.is_due(heavy, 0.0)


def test_the_age_counts_from_the_first_record() -> None:
    batch = Batch()
    batch.add(record(0), 5.0)
    batch.add(record(1), 5.9)
    assert batch.opened_at == 5.0


def test_offsets_are_those_after_the_last_record_of_each_partition() -> None:
    batch = Batch()
    for offset, partition in ((7, 0), (3, 1), (9, 0)):
        batch.add(record(offset, partition), 0.0)
    assert batch.next_offsets == {("t", 0): 10, ("t", 1): 4}


def test_partitions_given_away_leave_with_their_records_and_offsets() -> None:
    batch = Batch()
    for offset, partition in ((7, 0), (3, 1), (9, 0)):
        batch.add(record(offset, partition, size=5), 2.0)
    left = batch.without([("t", 0), ("other", 1)])
    assert [(one.partition, one.offset) for one in left.records] == [(1, 3)]
    assert left.next_offsets == {("t", 1): 4}
    assert (left.bytes, left.opened_at) == (5, 2.0)
    assert left.without([("t", 1)]).opened_at is None


def test_records_added_at_once_are_records_added_one_by_one() -> None:
    records = [record(offset, partition, size=offset) for offset, partition in ((7, 0), (3, 1), (9, 0))]
    singly, at_once = Batch(), Batch()
    for number, one in enumerate(records):
        singly.add(one, 2.0 + number)
    at_once.extend(records[:1], 2.0)
    at_once.extend([], 2.5)
    at_once.extend([records[1]._replace(value=None), records[2]], 3.0)
    assert (at_once.next_offsets, at_once.opened_at) == (singly.next_offsets, 2.0)
    assert at_once.bytes == 7 + 0 + 9
    assert [one.offset for one in at_once.records] == [7, 3, 9]
    empty = Batch()
    empty.extend([], 1.0)
    assert empty.opened_at is None


AGES = st.floats(0.001, 60)
SECONDS = st.floats(0, 1e4)


@given(most=AGES, least=AGES, insert=SECONDS, more=SECONDS)
def test_a_batch_waits_longer_after_longer_inserts_within_its_ages(
    most: float, least: float, insert: float, more: float
) -> None:
    policy = replace(POLICY, max_age_seconds=most, min_age_seconds=least)
    wait = policy.wait_seconds(insert)
    assert min(least, most) <= wait <= most, "the greatest age is never exceeded, whatever an outage took"
    assert wait <= policy.wait_seconds(insert + more)
    assert wait >= min(most, WAIT_PER_INSERT * insert), "inserting takes at most its share of the time"


@given(insert=SECONDS)
def test_without_a_least_age_the_age_is_fixed(insert: float) -> None:
    assert POLICY.wait_seconds(insert) == POLICY.max_age_seconds


@given(rows=st.integers(0, 5), age=st.floats(0, 3), insert=st.floats(0, 1))
def test_a_batch_is_due_exactly_when_full_or_as_old_as_it_must_wait(rows: int, age: float, insert: float) -> None:
    policy = replace(POLICY, min_age_seconds=0.25)
    batch = Batch()
    batch.extend([record(offset) for offset in range(rows)], 0.0)
    due = rows >= POLICY.max_rows or (rows > 0 and age >= policy.wait_seconds(insert))
    assert policy.is_due(batch, age, insert) == due


@given(gaps=st.lists(st.floats(0.0, 0.5), min_size=1, max_size=60), insert=st.floats(0, 0.05))
def test_a_trickle_makes_no_more_parts_than_the_least_age_allows(gaps: list[float], insert: float) -> None:
    policy = replace(POLICY, max_rows=1000, min_age_seconds=0.25)
    batch, now, closed = Batch(), 0.0, list[float]()
    for offset, gap in enumerate(gaps):
        now += gap
        batch.add(record(offset), now)
        if policy.is_due(batch, now, insert):
            closed.append(now)
            batch = Batch()
    assert len(closed) <= now / 0.25 + 1e-9
    assert all(later - earlier >= 0.25 - 1e-9 for earlier, later in pairwise(closed))


@given(
    partitions=st.lists(st.integers(0, 2), min_size=1, max_size=20),
    count=st.integers(0, 20),
    sizes=st.lists(st.integers(0, 5), min_size=20, max_size=20),
)
def test_both_parts_of_a_batch_are_the_whole(partitions: list[int], count: int, sizes: list[int]) -> None:
    batch = Batch()
    batch.extend([record(2 * number, partition, sizes[number]) for number, partition in enumerate(partitions)], 1.0)
    head, rest = batch.split(count, 2.0)
    assert head.records + rest.records == batch.records
    assert head.bytes == sum(len(one.value or b"") for one in head.records)
    assert rest.bytes == batch.bytes - head.bytes
    assert rest.opened_at == (2.0 if rest.records else None)
    for key, offset in head.next_offsets.items():
        assert all(one.offset < offset for one in head.records if one[:2] == key)
        assert all(one.offset >= offset for one in rest.records if one[:2] == key), "nothing is committed unstored"
    assert {one[:2] for one in head.records} <= set(head.next_offsets)
    assert head.next_offsets | rest.next_offsets == batch.next_offsets
