"""What goes to which topic, with which key, headers and time; and what is too large to go."""

from __future__ import annotations

from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb

from contracts.dead_letters import Reason
from contracts.topics import DEAD_LETTER_MAX_BYTES, ENRICHED_MAX_BYTES, Topics
from contracts.v1 import dead_letter_pb2, facts_pb2
from processors import emit
from processors.enrich import Enriched
from processors.intake import BadRecord, RawRecord
from processors.pipeline import PartitionState, process
from processors.window import Window
from tests.support.events import event
from tests.support.raw_records import raw_record

TOPICS = Topics("x.")


class Sent(list[tuple[str, Any, Any, int, Any]]):
    def send(self, topic: str, value: Any, key: Any = None, *, timestamp_ms: int = 0, headers: Any = None) -> None:
        self.append((topic, value, key, timestamp_ms, headers))


def test_facts_go_beside_the_enriched_record() -> None:
    content = pb.AgentHandoff(to_agent_id="b")
    source = raw_record(event(pb.EVENT_TYPE_AGENT_HANDOFF, agent_handoff=content), 7)
    sent = Sent()
    emit.emit(sent, TOPICS, source, process(PartitionState(Window(10)), source))
    enriched, fact = sent
    assert (enriched[0], fact[0]) == ("x.events.enriched", "x.metrics.handoffs")
    assert {enriched[2], fact[2]} == {b"s"}
    assert {enriched[3], fact[3]} == {source.timestamp_ms}
    assert dict(enriched[4])["event_type"] == b"EVENT_TYPE_AGENT_HANDOFF"
    assert fact[4] == [("tenant_id", b"t"), ("project_id", b"p"), ("schema", b"chaukas.gateway.v1.HandoffFact")]
    assert facts_pb2.HandoffFact.FromString(fact[1]).source.offset == 7


def test_calls_have_their_topic() -> None:
    source = raw_record(event(pb.EVENT_TYPE_MCP_CALL_START))
    sent = Sent()
    emit.emit(sent, TOPICS, source, process(PartitionState(Window(10)), source))
    assert sent[1][0] == "x.metrics.mcp_calls"
    assert dict(sent[1][4])["schema"] == b"chaukas.gateway.v1.McpCallFact"


def test_a_dead_letter_has_its_provenance() -> None:
    source = RawRecord("x.events.raw", 3, 42, b"key", b"\xffjunk", [("tenant_id", b"t"), ("odd", None)], 1234)
    sent = Sent()
    emit.emit_dead_letter(sent, TOPICS, source, BadRecord(Reason.UNPARSEABLE, "no Event"))
    topic, value, key, timestamp_ms, headers = sent[0]
    letter = dead_letter_pb2.DeadLetter.FromString(value)
    assert (topic, key, timestamp_ms) == ("x.dead_letters", b"key", 1234)
    assert (letter.topic, letter.partition, letter.offset, letter.value) == ("x.events.raw", 3, 42, b"\xffjunk")
    assert (letter.stage, letter.reason, letter.message) == ("processors", "unparseable", "no Event")
    assert [(header.name, header.HasField("value")) for header in letter.headers] == [
        ("tenant_id", True),
        ("odd", False),
    ]
    assert dict(headers)["tenant_id"] == b"t"


def test_a_forged_enrichment_header_is_replaced() -> None:
    source = raw_record(event())
    source.headers.insert(0, ("enrichment", b"forged"))
    headers = process(PartitionState(Window(10)), source).enriched.headers
    assert [value for name, value in headers if name == "enrichment"] != [b"forged"]
    assert sum(name == "enrichment" for name, _ in headers) == 1


def test_what_the_enriched_topic_would_not_take_is_a_bad_record() -> None:
    source = raw_record(event())
    made = process(PartitionState(Window(10)), source).enriched
    emit.check_size(made, source)
    large = Enriched(bytes(ENRICHED_MAX_BYTES), made.headers)
    with pytest.raises(BadRecord, match="the topic takes") as caught:
        emit.check_size(large, source)
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("field", ["event_id", "session_id"])
def test_the_short_check_lets_nothing_large_through(field: str) -> None:
    """Ids count twice, in the headers or the key, and an END's START's twice more."""
    state = PartitionState(Window(10))
    name = "i" * (ENRICHED_MAX_BYTES // 5 - 2000)
    sizes = []
    for offset, kind in enumerate((pb.EVENT_TYPE_TOOL_CALL_START, pb.EVENT_TYPE_TOOL_CALL_END)):
        sent = event(kind, span_id="x")
        setattr(sent, field, name)
        source = raw_record(sent, offset)
        made = process(state, source).enriched
        sizes.append(emit.record_bytes(made.value, source.key, made.headers))
        assert made.has_bounded_headers
        emit.check_size(made, source)
    assert max(sizes) <= ENRICHED_MAX_BYTES
    with pytest.raises(BadRecord, match="the topic takes"):
        emit.check_size(made, RawRecord("raw", 0, 9, bytes(ENRICHED_MAX_BYTES), b"", [], 0))


def test_a_letter_too_large_for_its_topic_leaves_the_value_where_it_is() -> None:
    source = RawRecord("x.events.raw", 0, 1, b"k", bytes(DEAD_LETTER_MAX_BYTES), [], 1)
    sent = Sent()
    emit.emit_dead_letter(sent, TOPICS, source, BadRecord(Reason.UNPARSEABLE, "no Event"))
    letter = dead_letter_pb2.DeadLetter.FromString(sent[0][1])
    assert letter.value == b""
    assert "4194304 bytes is only in x.events.raw" in letter.message


def test_the_largest_raw_record_still_fits() -> None:
    """A full raw topic record, with everything the steps can add to it."""
    state = PartitionState(Window(10))
    names = "é" * 200_000
    start = event(pb.EVENT_TYPE_MCP_CALL_START, span_id="x", mcp_call=pb.MCPCall(server_name=names, server_url=names))
    process(state, raw_record(start, 0))
    end = event(pb.EVENT_TYPE_MCP_CALL_END, span_id="x", error=pb.ErrorInfo(error_message="m" * 2_000_000))
    source = raw_record(end, 1)
    output = process(state, source)
    emit.check_size(output.enriched, source)
    assert output.mcp_calls[0].ByteSize() < 100_000
