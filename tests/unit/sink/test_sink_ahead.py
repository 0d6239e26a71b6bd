"""Mapping a batch in parts while it fills gives what mapping it at once gives."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.dead_letters import SourceRecord
from sink.ahead import Ahead
from sink.batch import Batch
from sink.prepare import Prepared, prepare
from tests.support.events import event
from tests.support.sink_records import RECEIVED_NS, TOPICS, enriched_record, fact_record, handoff_fact

PART = 3
KINDS = ("event", "resend", "conflict", "handoff", "bad event", "bad fact")


def record(kind: str, offset: int) -> SourceRecord:
    made = event(event_id=f"e{offset}")
    received = RECEIVED_NS + (offset * 7) % 5
    if kind == "resend":
        return enriched_record(made, offset=offset, received_ns=received, resend_of=0)
    if kind == "conflict":
        return enriched_record(made, offset=offset, received_ns=received, conflicts_with=0)
    if kind == "handoff":
        return fact_record(TOPICS.handoffs, handoff_fact(made, raw=(0, offset)), offset=offset)
    if kind == "bad fact":
        return SourceRecord(TOPICS.mcp_calls, 0, offset, None, b"\xff", (), 0)
    good = enriched_record(made, offset=offset, received_ns=received)
    return good._replace(headers=()) if kind == "bad event" else good


def said(prepared: Prepared) -> dict[str, object]:
    return {
        "tables": [(table.name, table.rows.to_pylist(), table.sources) for table in prepared.tables],
        "letters": sorted(letter.SerializeToString(deterministic=True) for letter in prepared.letters),
        "next_offsets": prepared.next_offsets,
        "records": prepared.records,
        "received_ns": prepared.received_ns,
        "sources": list(prepared.sources),
    }


@settings(max_examples=60, deadline=None)
@given(polls=st.lists(st.lists(st.sampled_from(KINDS), max_size=5), max_size=5))
def test_parts_are_the_whole(polls: list[list[str]]) -> None:
    ahead, batch, offset = Ahead(TOPICS), Batch(), 0
    with patch("sink.ahead.CHUNK", PART):
        for poll in polls:
            batch.extend([record(kind, offset + number) for number, kind in enumerate(poll)], 0.0)
            offset += len(poll)
            ahead.advance(batch, 0.0)
        assert said(ahead.finish(batch)) == said(prepare(batch, TOPICS))


def test_only_less_than_a_part_is_left_when_a_batch_is_closed() -> None:
    ahead, batch = Ahead(TOPICS), Batch()
    mapped: list[int] = []

    def counted(part: Batch, topics: object) -> Prepared:
        mapped.append(len(part.records))
        return prepare(part, TOPICS)

    with patch("sink.ahead.CHUNK", PART), patch("sink.ahead.prepare", counted):
        for start in (0, 4):
            batch.extend([record("event", offset) for offset in range(start, start + 4)], 0.0)
            ahead.advance(batch, 0.0)
        assert mapped == [3, 3]
        ahead.finish(batch)
    assert mapped == [3, 3, 2]


def test_a_batch_that_lost_partitions_is_mapped_anew() -> None:
    ahead, batch = Ahead(TOPICS), Batch()
    with patch("sink.ahead.CHUNK", PART):
        batch.extend([record("event", offset)._replace(partition=offset % 2) for offset in range(4)], 0.0)
        ahead.advance(batch, 0.0)
        left = batch.without([(TOPICS.enriched, 0)])
        ahead.forget()
        assert [source.offset for source in ahead.finish(left).tables[0].sources] == [1, 3]


def test_an_insert_that_could_begin_gets_what_is_mapped_and_the_rest_keeps_its_age() -> None:
    ahead, batch = Ahead(TOPICS), Batch()
    with patch("sink.ahead.CHUNK", PART):
        batch.extend([record("event", 0)], 1.0)
        ahead.advance(batch, 1.0)
        assert ahead.split(batch) == (batch, Batch()), "less than a part is not worth an insert of its own"
        for offsets, now in ((range(1, 4), 2.0), (range(4, 5), 3.0)):
            batch.extend([record("event", offset) for offset in offsets], now)
            ahead.advance(batch, now)
        head, rest = ahead.split(batch)
        assert [source.offset for source in rest.records] == [3, 4]
        assert rest.opened_at == 2.0
        with patch("sink.ahead.prepare", None):
            prepared = ahead.finish(head)
        assert said(prepared) == said(prepare(head, TOPICS))
        assert said(ahead.finish(rest)) == said(prepare(rest, TOPICS)), "and begins anew"
