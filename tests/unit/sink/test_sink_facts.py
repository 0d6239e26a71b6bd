from __future__ import annotations

from typing import Any

import pytest

from contracts import dead_letters, headers
from contracts.dead_letters import Reason, SourceRecord, Stage
from contracts.v1 import facts_pb2
from sink import facts
from sink.batch import Batch
from sink.prepare import Prepared, prepare
from sink.route import BadRecord, enriched
from tests.support.events import START_NS, event
from tests.support.sink_records import RECEIVED_NS, TOPICS, enriched_record, fact_record, handoff_fact


def call(**fields: Any) -> facts_pb2.McpCallFact:
    fact = facts_pb2.McpCallFact(
        **{"call_id": "c", "tenant_id": "t", "project_id": "p", "revision": 1, "status": 1, **fields}
    )
    fact.started_at.FromNanoseconds(START_NS)
    fact.start_source.topic, fact.start_source.partition, fact.start_source.offset = "raw", 2, 7
    return fact


def bad(row_of: Any, fact: Any) -> Reason:
    with pytest.raises(BadRecord) as caught:
        row_of(fact_record("topic", fact))
    return caught.value.reason


def test_a_handoff_row_holds_every_column() -> None:
    fact = handoff_fact(event(event_id="h"), raw=(1, 9), revision=2, latency_ms=1.5, picked_up_event_id="x")
    fact.picked_up_at.FromNanoseconds(START_NS + 5)
    row = facts.handoff_row(fact_record("topic", fact))
    assert set(row) == set(facts.HANDOFFS.names)
    assert (row["handed_off_at"], row["picked_up_at"], row["latency_ms"]) == (START_NS, START_NS + 5, 1.5)
    assert (row["source_partition"], row["source_offset"], row["revision"]) == (1, 9, 2)
    assert facts.to_table("handoffs", [row]).num_rows == 1


def test_a_handoff_nobody_picked_up_has_no_time_and_no_latency() -> None:
    row = facts.handoff_row(fact_record("topic", handoff_fact(event(event_id="h"), raw=(1, 9))))
    assert (row["picked_up_at"], row["latency_ms"], row["picked_up_event_id"]) == (None, None, "")


def test_an_open_call_has_no_end() -> None:
    row = facts.mcp_call_row(fact_record("topic", call()))
    assert set(row) == set(facts.MCP_CALLS.names)
    assert (row["at"], row["started_at"], row["ended_at"]) == (START_NS, START_NS, None)
    assert (row["start_partition"], row["start_offset"], row["end_partition"], row["end_offset"]) == (2, 7, None, None)
    assert (row["measured_ms"], row["reported_ms"]) == (None, None)
    assert facts.to_table("mcp_calls", [row]).num_rows == 1


def test_an_orphan_end_is_listed_at_its_end() -> None:
    fact = call(revision=2, status=4)
    fact.ClearField("started_at")
    fact.ClearField("start_source")
    fact.ended_at.FromNanoseconds(START_NS + 1)
    fact.end_source.offset = 0
    row = facts.mcp_call_row(fact_record("topic", fact))
    assert (row["at"], row["start_offset"], row["end_offset"]) == (START_NS + 1, None, 0)


@pytest.mark.parametrize("revision", [0, 256])
def test_facts_that_are_none_are_refused(revision: int) -> None:
    assert bad(facts.mcp_call_row, call(revision=revision)) is Reason.INVALID_FACT
    assert bad(facts.mcp_call_row, call(call_id="")) is Reason.INVALID_FACT
    assert bad(facts.mcp_call_row, facts_pb2.McpCallFact()) is Reason.INVALID_FACT
    assert bad(facts.handoff_row, facts_pb2.HandoffFact()) is Reason.INVALID_FACT
    assert bad(facts.handoff_row, handoff_fact(event(), raw=(-1, 0))) is Reason.INVALID_FACT
    with pytest.raises(BadRecord):
        facts.handoff_row(SourceRecord("t", 0, 0, None, b"\xff\xff", (), 0))


def letter_record(source: SourceRecord, stage: Stage = Stage.SINK) -> SourceRecord:
    letter = dead_letters.build(source, stage, Reason.UNPARSEABLE, "why")
    return fact_record(TOPICS.dead_letters, letter)


def test_a_letter_of_a_raw_record_tells_its_raw_position() -> None:
    raw = SourceRecord(TOPICS.raw, 3, 44, b"k", b"v", ((headers.TENANT_ID, b"t"), (headers.EVENT_ID, b"e")), 5)
    row = facts.dead_letter_row(letter_record(raw, Stage.PROCESSORS), TOPICS.raw)
    assert set(row) == set(facts.DEAD_LETTERS.names)
    assert (row["raw_partition"], row["raw_offset"], row["tenant_id"], row["event_id"]) == (3, 44, "t", "e")
    assert (row["stage"], row["reason"], row["first_seen"]) == ("processors", "unparseable", 5_000_000)


def test_a_letter_of_an_enriched_record_tells_the_raw_position_of_its_header() -> None:
    row = facts.dead_letter_row(letter_record(enriched_record(event(), offset=1, raw=(6, 7))), TOPICS.raw)
    assert (row["topic"], row["offset"], row["raw_partition"], row["raw_offset"]) == (TOPICS.enriched, 1, 6, 7)


def test_a_letter_of_a_foreign_record_tells_none() -> None:
    foreign = SourceRecord(TOPICS.enriched, 0, 1, None, None, ((headers.ENRICHMENT, b"\xff"),), 0)
    row = facts.dead_letter_row(letter_record(foreign), TOPICS.raw)
    assert (row["raw_partition"], row["raw_offset"]) == (None, None)
    with pytest.raises(BadRecord):
        facts.dead_letter_row(SourceRecord(TOPICS.dead_letters, 0, 0, None, b"\xff", (), 0), TOPICS.raw)


def test_marked_copies() -> None:
    resend = enriched(enriched_record(event(event_id="e"), offset=5, partition=1, resend_of=3))
    row = facts.resend_row(resend)
    assert set(row) == set(facts.RESENDS.names)
    assert (row["raw_offset"], row["first_partition"], row["first_offset"]) == (5, 1, 3)
    conflict = enriched(enriched_record(event(event_id="e", at_ns=None), offset=5, conflicts_with=2))
    row = facts.conflict_row(conflict)
    assert set(row) == set(facts.CONFLICTS.names)
    assert (row["first_offset"], row["ts"], row["raw"]) == (2, RECEIVED_NS, conflict.value)


def prepared(*records: SourceRecord) -> Prepared:
    batch = Batch()
    for record in records:
        batch.add(record, 0.0)
    return prepare(batch, TOPICS)


def test_each_record_of_a_batch_finds_its_table_or_becomes_a_letter() -> None:
    records = [
        enriched_record(event(event_id="e"), offset=0),
        enriched_record(event(event_id="e"), offset=1, resend_of=0),
        enriched_record(event(event_id="e"), offset=2, conflicts_with=0),
        enriched_record(event(event_id="x"), offset=3)._replace(value=b"\xff"),
        enriched_record(event(event_id="y"), offset=4, conflicts_with=0)._replace(value=b"\xff"),
        fact_record(TOPICS.handoffs, handoff_fact(event(event_id="h"), raw=(0, 0)), offset=5),
        fact_record(TOPICS.mcp_calls, call(), offset=6),
        fact_record(TOPICS.mcp_calls, facts_pb2.McpCallFact(), offset=7),
        letter_record(enriched_record(event(), offset=1)),
    ]
    found = prepared(*records)
    assert {table.name: [source.offset for source in table.sources] for table in found.tables} == {
        "events": [0],
        "resends": [1],
        "conflicts": [2],
        "handoffs": [5],
        "mcp_calls": [6],
        "dead_letters": [0],
    }
    assert all(table.rows.num_rows == len(table.sources) for table in found.tables)
    assert sorted((letter.offset, letter.reason, letter.stage) for letter in found.letters) == [
        (3, "unparseable", "sink"),
        (4, "unparseable", "sink"),
        (7, "invalid_fact", "sink"),
    ]
    assert found.next_offsets == {
        (TOPICS.enriched, 0): 5,
        (TOPICS.handoffs, 0): 6,
        (TOPICS.mcp_calls, 0): 8,
        (TOPICS.dead_letters, 0): 1,
    }
    assert found.received_ns == (RECEIVED_NS, RECEIVED_NS)


def test_the_letter_of_a_record_is_the_same_every_time() -> None:
    broken = enriched_record(event(), offset=3)._replace(value=b"\xff")
    assert prepared(broken).letters == prepared(broken).letters


def test_a_batch_of_bad_records_has_no_tables() -> None:
    found = prepared(enriched_record(event(), offset=3)._replace(value=b"\xff"))
    assert (found.tables, found.received_ns, len(found.letters)) == ([], None, 1)
