"""When letters stop the sink, and when they do not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from contracts.dead_letters import Reason, SourceRecord
from contracts.flood import RUN, SHARE_RECORDS
from contracts.v1.dead_letter_pb2 import DeadLetter
from sink.flood import FloodGuard, FloodOfDeadLetters
from sink.prepare import letter
from sink.route import BadRecord

AT_MS = 1_000


def records(tenants: Sequence[str | None], first: int = 0, partition: int = 0) -> list[SourceRecord]:
    return [
        SourceRecord("enriched", partition, first + number, b"k", b"v", _headers(tenant), AT_MS)
        for number, tenant in enumerate(tenants)
    ]


def _headers(tenant: str | None) -> tuple[tuple[str, bytes | None], ...]:
    return () if tenant is None else (("tenant_id", tenant.encode()),)


def letters(bad: Sequence[SourceRecord]) -> list[DeadLetter]:
    return [letter(record, BadRecord(Reason.UNPARSEABLE, "no Event")) for record in bad]


def test_a_run_of_two_tenants_or_of_unknown_ones_stops() -> None:
    for tenants in (["a", "b"] * RUN, [None] * RUN):
        batch = records(tenants)
        with pytest.raises(FloodOfDeadLetters, match=r"unparseable.*SINK_DEAD_LETTERS_ACCEPTED_UNTIL"):
            FloodGuard().check(batch, letters(batch))


def test_a_run_across_batches_and_not_across_partitions() -> None:
    half = RUN // 2
    guard = FloodGuard()
    for number, partition in enumerate((0, 1)):
        batch = records([None] * half, number * half, partition)
        guard.check(batch, letters(batch))
    batch = records([None] * half, half, 0)
    with pytest.raises(FloodOfDeadLetters):
        guard.check(batch, letters(batch))


def test_good_records_between_end_a_run() -> None:
    guard = FloodGuard()
    for number in range(5):
        batch = records([None] * (RUN - 1), number * RUN)
        guard.check(batch, letters(batch))
        guard.check(records(["a"], number * RUN + RUN), [])


def test_more_than_one_percent_stops() -> None:
    guard = FloodGuard()
    guard.check(records(["a"] * SHARE_RECORDS), [])
    batch = records(["a"] * 5 + ["b"] * 6, SHARE_RECORDS)
    guard.check(batch[:10], letters(batch[:10]))
    with pytest.raises(FloodOfDeadLetters, match="11 of the last 1000"):
        guard.check(batch[10:], letters(batch[10:]))


def test_one_tenants_records_stop_nobody() -> None:
    batch = records(["a"] * 3 * RUN)
    FloodGuard().check(batch, letters(batch))


def test_accepted_letters_do_not_count() -> None:
    batch = records([None] * 3 * RUN)
    FloodGuard(AT_MS + 1).check(batch, letters(batch))
    with pytest.raises(FloodOfDeadLetters):
        FloodGuard(AT_MS).check(batch, letters(batch))


def test_a_partition_that_is_given_away_is_forgotten() -> None:
    guard = FloodGuard()
    batch = records([None] * (RUN - 1))
    guard.check(batch, letters(batch))
    guard.forget([("enriched", 0)])
    guard.check(batch, letters(batch))


def test_refused_rows_of_several_batches_add_up() -> None:
    """Each batch is mapped without a letter; the store refuses its rows, ten at a time."""
    guard = FloodGuard()
    for number in range(RUN // 10 - 1):
        batch = records([None] * 10, number * 10)
        guard.check(batch, [])
        guard.check_again(batch, letters(batch))
    batch = records([None] * 10, RUN - 10)
    guard.check(batch, [])
    with pytest.raises(FloodOfDeadLetters, match="100 records in a row"):
        guard.check_again(batch, letters(batch))


def test_counting_again_counts_nothing_twice() -> None:
    guard = FloodGuard()
    batch = records([None] * (RUN - 1))
    guard.check(batch, letters(batch[:5]))
    for _ in range(3):
        guard.check_again(batch, letters(batch))


def test_what_was_accepted_meanwhile_stops_nothing() -> None:
    asked: list[int] = []

    def ask() -> int:
        asked.append(1)
        return AT_MS + 1

    guard = FloodGuard(ask_accepted=ask)
    batch = records([None] * 3 * RUN)
    guard.check(batch, letters(batch))
    assert asked == [1]
    later = [record._replace(timestamp_ms=AT_MS + 1) for record in records([None] * RUN, 3 * RUN)]
    with pytest.raises(FloodOfDeadLetters, match="dlq accept --stage sink"):
        guard.check(later, letters(later))


def test_a_successor_goes_on_counting() -> None:
    first, second = FloodGuard(), FloodGuard()
    batch = records(["a", "b", None] * 33)
    first.check(batch, letters(batch))
    note = first.note(("enriched", 0))
    second.take_over(("enriched", 0), note)
    more = records([None], RUN - 1)
    with pytest.raises(FloodOfDeadLetters, match="100 records in a row"):
        second.check(more, letters(more))
