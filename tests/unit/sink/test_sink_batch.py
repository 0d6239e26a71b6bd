from __future__ import annotations

from contracts.dead_letters import SourceRecord
from sink.batch import Batch, BatchPolicy

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
