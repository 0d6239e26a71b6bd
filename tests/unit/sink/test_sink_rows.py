from __future__ import annotations

import math
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from google.protobuf import struct_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.dead_letters import Reason
from sink.batch import Batch
from sink.event_rows import SCHEMA
from sink.prepare import prepare
from sink.route import Enriched, enriched
from sink.rows import CHUNK, map_events
from sink.search_text import STRUCT_TEXT_MAX_BYTES, struct_text
from sink.times import MAX_NS, MIN_NS
from tests.support.any_message import any_message
from tests.support.deep_event import deep_event
from tests.support.events import START_NS, event, seeded_sessions
from tests.support.sink_records import RECEIVED_NS, TOPICS, enriched_record


def mapped(event: pb.Event, **options: Any) -> dict[str, Any]:
    """The one row of `event`; times as Unix nanoseconds."""
    result = map_events([enriched_record(event, offset=4, **options)])
    assert result.bad == []
    return row_of(result.table, 0)


def row_of(table: Any, number: int) -> dict[str, Any]:
    found = {}
    for name in SCHEMA.names:
        value = table.column(name)[number]
        found[name] = value.value if name in ("ts", "received_at") else value.as_py()
    return found


def words(row: dict[str, Any]) -> set[str]:
    return set(row["search_text"].split())


def identified(made: pb.Event) -> pb.Event:
    made.event_id = made.event_id or "e"
    made.tenant_id = made.tenant_id or "t"
    return made


PLAIN = "session_id span_id parent_span_id trace_id type severity status author agent_id agent_name".split()  # noqa: SIM905


def reported(made: pb.Event) -> float | None:
    fields = {"tool_response": "execution_time_ms", "mcp_call": "execution_time_ms", "llm_invocation": "duration_ms"}
    kind = made.WhichOneof("content")
    value = getattr(getattr(made, kind), fields[kind]) if kind in fields else 0.0
    return value if value and math.isfinite(value) else None


def expected(made: pb.Event, record: Enriched) -> dict[str, Any]:
    """The row, written down the plain way: the oracle of the tuned mapper."""
    row: dict[str, Any] = {name: getattr(made, name) for name in PLAIN}
    stamp = made.timestamp.seconds * 10**9 + made.timestamp.nanos
    row["ts"] = min(max(stamp, MIN_NS), MAX_NS) if made.HasField("timestamp") else record.headers.received_at_ns
    kind = made.WhichOneof("content")

    def of(arm: str, field: str, default: Any = "") -> Any:
        return getattr(getattr(made, arm), field) if kind == arm else default

    row |= {
        "tenant_id": record.headers.tenant_id,
        "project_id": record.headers.project_id,
        "event_id": record.headers.event_id,
        "tags": list(made.tags),
        "raw": record.value,
        "mcp_server": of("mcp_call", "server_name"),
        "mcp_operation": of("mcp_call", "operation"),
        "tool_name": of("tool_call", "name"),
        "function_name": of("tool_call", "function_name"),
        "model_provider": of("llm_invocation", "provider"),
        "model": of("llm_invocation", "model"),
        "prompt_tokens": of("llm_invocation", "prompt_tokens", 0),
        "completion_tokens": of("llm_invocation", "completion_tokens", 0),
        "total_tokens": of("llm_invocation", "total_tokens", 0),
        "error_code": of("error", "error_code"),
        "error_message": of("error", "error_message") or of("tool_response", "error_message"),
        "policy_id": of("policy", "policy_id"),
        "policy_outcome": of("policy", "outcome"),
        "datasource": of("data_access", "datasource"),
        "policy_rule_ids": list(of("policy", "rule_ids", [])),
        "policy_rationale": of("policy", "rationale"),
        "document_ids": list(of("data_access", "document_ids", [])),
        "accessed_pii_categories": list(of("data_access", "pii_categories", [])),
        "pii_categories": list(made.pii_categories),
        "http_status": of("tool_response", "http_status", 0),
        "finish_reason": of("llm_invocation", "finish_reason"),
        "retry_attempt": made.retry.attempt if made.HasField("retry") else None,
        "retry_backoff_ms": made.retry.backoff_ms if made.HasField("retry") else None,
        "retry_strategy": made.retry.strategy,
        "redaction_fields": list(made.redaction.fields),
        "redaction_method": made.redaction.method,
        "redaction_salt_id": made.redaction.salt_id,
        "redacted": list(record.enrichment.redacted),
        "redaction_version": record.enrichment.redaction_version,
        "reported_ms": reported(made),
        "raw_partition": 0,
        "content_sha256": record.enrichment.content_sha256,
        "canonical_sha256": record.enrichment.canonical_sha256,
        "received_at": RECEIVED_NS,
    }
    return row


@settings(max_examples=150, deadline=None)
@given(st.lists(any_message(pb.Event).map(identified), min_size=1, max_size=4))
def test_every_event_becomes_its_row_and_its_bytes_stay(events: list[pb.Event]) -> None:
    records = [enriched_record(made, offset=number) for number, made in enumerate(events)]
    result = map_events(records)
    assert result.bad == []
    for number, (made, record) in enumerate(zip(events, records, strict=True)):
        row = row_of(result.table, number)
        wanted = expected(made, enriched(record))
        assert {name: row[name] for name in wanted} == wanted
        assert row["raw_offset"] == number
        back = pb.Event.FromString(row["raw"])
        del back.extensions[-1]
        assert back.SerializeToString(deterministic=True) == made.SerializeToString(deterministic=True)


@settings(max_examples=200, deadline=None)
@given(any_message(pb.Event).map(identified), st.data())
def test_broken_bytes_are_a_row_or_a_bad_record_and_never_an_error(made: pb.Event, data: st.DataObject) -> None:
    good = enriched_record(event(event_id="good"), offset=1)
    record = enriched_record(made, offset=2)
    value = bytearray(record.value or b"")
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(value) - 1))
        value[place] = data.draw(st.integers(0, 255))
    broken = record._replace(value=bytes(value[: data.draw(st.integers(0, len(value)))]))
    result = map_events([good, broken, good])
    assert result.table.num_rows + len(result.bad) == 3
    assert result.table.num_rows >= 2
    assert [row.value for row in result.rows] == result.table.column("raw").to_pylist()


def test_rows_keep_their_order_across_chunks() -> None:
    events = [event(event_id=str(number)) for number in range(CHUNK + 7)]
    records = [enriched_record(made, offset=number) for number, made in enumerate(events)]
    table = map_events(records).table
    assert table.column("event_id").to_pylist() == [made.event_id for made in events]
    assert table.column("raw_offset").to_pylist() == list(range(CHUNK + 7))


def test_a_value_that_does_not_parse_or_is_another_event_is_bad() -> None:
    record = enriched_record(event(event_id="e"), offset=1)
    unparseable = record._replace(value=b"\x0a\xff")
    other = record._replace(value=event(event_id="x").SerializeToString())
    result = map_events([unparseable, record, other])
    assert [(error.reason, bad.value) for bad, error in result.bad] == [
        (Reason.UNPARSEABLE, unparseable.value),
        (Reason.FOREIGN_RECORD, other.value),
    ]
    assert result.rows == [record]


@pytest.mark.parametrize("marks", [{}, {"conflicts_with": 3}], ids=["event", "conflict"])
def test_an_event_too_deep_for_a_page_is_no_row(marks: dict[str, Any]) -> None:
    good = enriched_record(event(event_id="good"), offset=1)
    deep = enriched_record(deep_event("deep"), offset=2, **marks)
    prepared = prepare(Batch([good, deep, good]), TOPICS)
    assert [(table.name, table.sources) for table in prepared.tables] == [("events", [good, good])]
    assert [(letter.offset, letter.reason) for letter in prepared.letters] == [(2, Reason.UNPARSEABLE)]


def test_times() -> None:
    assert mapped(event(at_ns=START_NS))["ts"] == START_NS
    assert mapped(event(at_ns=START_NS))["bucket"] == 202506
    assert mapped(event(at_ns=None))["ts"] == RECEIVED_NS
    old = event()
    old.timestamp.seconds = -62_135_596_800
    assert (mapped(old)["ts"], mapped(old)["bucket"]) == (MIN_NS, 0)
    epoch = event(at_ns=0)
    assert mapped(epoch)["ts"] == 0


def test_what_the_processors_found_out() -> None:
    row = mapped(event(), effective_status=4, duration_ms=1.5, cost_usd=0.25)
    assert (row["effective_status"], row["status"], row["duration_ms"], row["cost_usd"]) == (4, 0, 1.5, 0.25)
    row = mapped(event())
    assert (row["duration_ms"], row["cost_usd"]) == (None, None)
    headers = {"batch_id": b"b", "traceparent": b"00-1-2-01"}
    row = mapped(event(), extra_headers=headers)
    assert (row["batch_id"], row["traceparent"]) == ("b", "00-1-2-01")


@pytest.mark.parametrize(
    ("cost", "computed", "wanted"),
    [
        (None, None, None),
        (pb.CostDetails(total_cost=2.0), 1.0, 2.0),
        (pb.CostDetails(total_cost=2.0, currency="usd"), None, 2.0),
        (pb.CostDetails(total_cost=2.0, currency="EUR"), None, None),
        (pb.CostDetails(input_tokens=5), 1.0, 1.0),
        (pb.CostDetails(total_cost=math.nan), 1.0, None),
        (pb.CostDetails(total_cost=math.inf), None, None),
        (None, 1.0, 1.0),
    ],
)
def test_whose_cost_counts(cost: pb.CostDetails | None, computed: float | None, wanted: float | None) -> None:
    made = event(cost=cost) if cost is not None else event()
    assert mapped(made, **({} if computed is None else {"cost_usd": computed}))["cost_usd"] == wanted


def test_a_failed_end_gets_what_its_start_said() -> None:
    failed = event(pb.EVENT_TYPE_MCP_CALL_END, error=pb.ErrorInfo(error_message="boom", error_code="E1"))
    recovered = {"mcp_server_name": "files", "mcp_operation": "read", "model": "m", "tool_name": "t"}
    row = mapped(failed, recovered=recovered)
    assert (row["mcp_server"], row["mcp_operation"], row["model"], row["tool_name"]) == ("files", "read", "m", "t")
    assert (row["error_message"], row["error_code"]) == ("boom", "E1")
    own = event(mcp_call=pb.MCPCall(server_name="own"))
    assert mapped(own, recovered=recovered)["mcp_server"] == "own"


def struct(**fields: Any) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update(fields)
    return made


def mcp_call() -> pb.MCPCall:
    made = pb.MCPCall(server_name="files", operation="read", method="POST", server_url="http://x")
    made.request.CopyFrom(struct(path="alpha", deep={"list": ["beta", {"x": "gamma"}], "n": 5}))
    made.response.CopyFrom(struct(out="delta"))
    return made


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        (
            {"message": pb.MessageContent(role="user", text="hello there", metadata=struct(k="meta"))},
            "hello there meta",
        ),
        (
            {"tool_call": pb.ToolCall(id="1", name="look", function_name="f.look", arguments=struct(a="arg"))},
            "look f.look arg",
        ),
        ({"tool_response": pb.ToolResponse(error_message="bad", output=struct(o="out"))}, "bad out"),
        (
            {"llm_invocation": pb.LLMInvocation(model="m", request=struct(p="ask"), response=struct(r="told"))},
            "ask told",
        ),
        ({"policy": pb.PolicyDecision(policy_id="p", rationale="because")}, "because"),
        ({"data_access": pb.DataAccess(datasource="crm")}, ""),
        ({"state_update": struct(s="state")}, "state"),
        ({"error": pb.ErrorInfo(error_message="boom", error_code="E", stack_trace="trace")}, "boom"),
        ({"agent_handoff": pb.AgentHandoff(reason="why", to_agent_id="b", handoff_data=struct(h="data"))}, "why data"),
        ({"mcp_call": mcp_call()}, "files read alpha beta gamma delta"),
        ({"metadata": struct(m="metadata")}, ""),
    ],
)
def test_what_text_queries_search_in(fields: dict[str, Any], wanted: str) -> None:
    assert words(mapped(event(agent_name="Agent", **fields))) == {"Agent", *wanted.split()}


def test_of_the_text_in_structs_the_first_32_kib_count_the_same_everywhere() -> None:
    made = struct(**{f"key{number:04}": "é" * 100 for number in range(500)})
    text = struct_text(made)
    assert len(text.encode()) <= STRUCT_TEXT_MAX_BYTES < len(text.encode()) + 4
    fields = {f"key{number:04}": f"{number} " * 20 for number in range(2000)}
    one, other = struct(**fields), struct(**dict(reversed(fields.items())))
    assert struct_text(one) == struct_text(other)
    assert struct_text(one).startswith("0 0 0 ")
    assert struct_text(struct(n=1, b=True, none=None, empty="")) == ""


def test_seeded_sessions_give_the_same_rows_again() -> None:
    events = [made for session in seeded_sessions(3, 5, tenant="t", project="p") for made in session]
    records = [enriched_record(made, offset=number) for number, made in enumerate(events)]
    assert map_events(records).table.equals(map_events(records).table)
