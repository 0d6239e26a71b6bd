"""Both dialects are read, one is written, and nothing a caller sends is more than InvalidInput."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.common.v1 import query_pb2
from google.protobuf import any_pb2, json_format, struct_pb2, wrappers_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import InvalidInput
from contracts.spec_json import (
    MAX_NESTING,
    event_from_json,
    event_to_json,
    message_from_json,
    message_to_json,
    parse_json,
)
from contracts.wire import parse_events
from tests.support.events import event, seeded_sessions

ALL = [each for session in seeded_sessions(3, 5, tenant="t", project="p") for each in session]


def everything() -> pb.Event:
    """An event with every field outside `content` set."""
    made = event(pb.EVENT_TYPE_SYSTEM, tags=["a", "b"], is_final=True, severity=pb.SEVERITY_WARN, author=pb.AUTHOR_LLM)
    made.timestamp.nanos = 120_000_000
    made.retry.attempt = 3
    made.redaction.fields.append("x")
    made.pii_categories.append("email")
    made.performance.cpu_percent = 1.5
    made.infrastructure.metrics["n"] = 1
    made.cost.total_cost = 0.25
    made.metadata.update({"list": [1, "two", None, {"three": [True]}], "empty": {}, "none": None, "half": 0.5})
    packed = any_pb2.Any()
    one = struct_pb2.Struct()
    one.update({"k": [1]})  # one key: the order of several in the packed bytes is not defined
    packed.Pack(one)
    made.extensions.append(packed)
    return made


@pytest.mark.parametrize("made", [*ALL[:60], everything(), pb.Event()], ids=lambda e: pb.EventType.Name(e.type))
def test_both_dialects_read_back_what_was_written(made: pb.Event) -> None:
    assert event_from_json(json.loads(json.dumps(event_to_json(made)))) == made
    assert event_from_json(json_format.MessageToDict(made)) == made
    assert event_from_json(json_format.MessageToDict(made, preserving_proto_field_name=True)) == made
    assert event_from_json(json_format.MessageToDict(made, use_integers_for_enums=True)) == made


@pytest.mark.parametrize(
    ("kind", "field", "body"),
    [
        ("message", "message", {"role": "user", "text": "hi", "metadata": {"a": 1}}),
        ("tool_call", "tool_call", {"id": "1", "name": "n", "arguments": {"x": [1]}, "auth_required": True}),
        ("tool_response", "tool_response", {"tool_call_id": "1", "output": {}, "execution_time_ms": 1.5}),
        ("llm_invocation", "llm_invocation", {"provider": "p", "model": "m", "start_time": "2026-01-01T00:00:00Z"}),
        ("policy_decision", "policy", {"policy_id": "p", "outcome": "deny", "rule_ids": ["r"]}),
        ("data_access", "data_access", {"datasource": "d", "document_ids": ["1"]}),
        ("error_info", "error", {"error_message": "m", "recoverable": True}),
        ("agent_handoff", "agent_handoff", {"from_agent_id": "a", "to_agent_id": "b"}),
        ("mcp_call", "mcp_call", {"server_name": "s", "operation": "o", "request": {"q": None}}),
        ("state_update", "state_update", {"state": {"a": {"b": 2}}}),
    ],
)
def test_every_kind_of_content(kind: str, field: str, body: dict[str, Any]) -> None:
    document = {"event_id": "e", "type": "TOOL_CALL_START", "content": {"kind": kind, **body}}
    made = event_from_json(document)
    assert made.WhichOneof("content") == field
    assert event_to_json(made) == document


def test_a_line_of_the_sdks_file_is_utc() -> None:
    line = json_format.MessageToDict(ALL[0], preserving_proto_field_name=True)
    line["timestamp"] = "2026-02-03T04:05:06.123456"
    assert event_from_json(line).timestamp.ToJsonString() == "2026-02-03T04:05:06.123456Z"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("2026-01-01t00:00:00z", "2026-01-01T00:00:00Z"),
        ("2026-01-01 02:00:00.5+02:00", "2026-01-01T00:00:00.500Z"),
        ("2025-12-31T21:30:00-02:30", "2026-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"),
        ("1969-12-31T23:59:59.000000001Z", "1969-12-31T23:59:59.000000001Z"),
    ],
)
def test_times(text: str, expected: str) -> None:
    made = event_from_json({"timestamp": text})
    assert event_to_json(made)["timestamp"] == expected
    assert made.timestamp.ToJsonString() == expected


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (None, "event"),
        ([], "event"),
        ({"nonsense": 1}, "event.nonsense"),
        ({"nonsense": None}, "event.nonsense"),
        ({"x" * 99: 1}, "event." + "x" * 64 + "…"),
        ({"event_id": 1}, "event.event_id"),
        ({"event_id": "\ud800"}, "event.event_id"),
        ({"event_id": "a", "eventId": "b"}, "event.eventId"),
        ({"type": "NONSENSE"}, "event.type"),
        ({"type": 2**31}, "event.type"),
        ({"type": True}, "event.type"),
        ({"type": 1.5}, "event.type"),
        ({"is_final": 1}, "event.is_final"),
        ({"timestamp": 5}, "event.timestamp"),
        ({"timestamp": "yesterday"}, "event.timestamp"),
        ({"timestamp": "2026-02-30T00:00:00Z"}, "event.timestamp"),
        ({"timestamp": "0001-01-01T00:00:00+01:00"}, "event.timestamp"),
        ({"timestamp": "0000-01-01T00:00:00Z"}, "event.timestamp"),
        ({"timestamp": "2026-01-01T00:00:00.0000000001Z"}, "event.timestamp"),
        ({"tags": "a"}, "event.tags"),
        ({"tags": ["a", 1]}, "event.tags[1]"),
        ({"message": {"text": 1}}, "event.message.text"),
        ({"message": {}, "tool_call": {}}, "event.tool_call"),
        ({"message": {}, "content": {"kind": "tool_call"}}, "event.content"),
        ({"content": {}}, "event.content.kind"),
        ({"content": {"kind": ["x"]}}, "event.content.kind"),
        ({"content": {"kind": "state_update", "x": 1}}, "event.content.x"),
        ({"content": "x"}, "event.content"),
        ({"metadata": []}, "event.metadata"),
        ({"metadata": {"a": ["\udfff"]}}, "event.metadata.a[0]"),
        ({"metadata": {"\udfff": 1}}, "event.metadata.\udfff"),
        ({"metadata": {"a": 10**400}}, "event.metadata.a"),
        ({"retry": {"attempt": "1e3"}}, "event.retry.attempt"),
        ({"cost": {"total_cost": "1"}}, "event.cost.total_cost"),
        ({"cost": {"total_cost": 10**400}}, "event.cost.total_cost"),
        ({"extensions": [{"@type": "type.googleapis.com/no.Such", "value": "?"}]}, "event.extensions[0]"),
        ({"extensions": [{"value": 1}]}, "event.extensions[0]"),
    ],
)
def test_what_cannot_be_read_is_named(document: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        event_from_json(document)
    (violation,) = caught.value.violations
    assert violation.field == field
    assert violation.reason


def nested(levels: int, kind: type) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind is list else {"a": value}
    return value


@pytest.mark.parametrize("kind", [list, dict])
def test_nesting_has_a_limit_that_protobuf_can_carry(kind: type) -> None:
    made = event_from_json({"content": {"kind": "message", "metadata": {"m": nested(MAX_NESTING, kind)}}})
    assert parse_events([made.SerializeToString()]) == [made]
    assert event_from_json(event_to_json(made)) == made
    with pytest.raises(InvalidInput, match="nested deeper"):
        event_from_json({"metadata": {"m": nested(MAX_NESTING + 1, kind)}})


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[" * 100_000, b"NaN", b"-Infinity", b"1" * 5000, b"\xef\xbb\xbf1"]
)
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_json(body)


def test_what_json_has_no_form_for_is_shown_all_the_same() -> None:
    made = pb.Event(type=4711)
    made.llm_invocation.start_time.seconds = 2**62
    made.llm_invocation.temperature = float("nan")
    made.metadata["inf"] = float("inf")
    made.metadata.fields["unset"].SetInParent()
    made.extensions.add(type_url="type.googleapis.com/no.Such", value=b"\x01")
    made.extensions.add(type_url="type.googleapis.com/google.protobuf.Struct", value=b"\xff")
    packed = any_pb2.Any()
    packed.Pack(wrappers_pb2.StringValue(value="w"))
    made.extensions.append(packed)
    written = json.loads(json.dumps(event_to_json(made), allow_nan=False))
    assert written["type"] == 4711
    assert written["content"]["start_time"] == {"seconds": 2**62, "nanos": 0}
    assert written["content"]["temperature"] == "NaN"
    assert written["metadata"] == {"inf": "Infinity", "unset": None}
    assert written["extensions"] == [
        {"@type": "type.googleapis.com/no.Such", "value": "AQ=="},
        {"@type": "type.googleapis.com/google.protobuf.Struct", "value": "/w=="},
        {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "w"},
    ]


def test_an_extension_of_an_unknown_type_keeps_its_bytes() -> None:
    made = pb.Event()
    made.extensions.add(type_url="type.googleapis.com/no.Such", value=b"\x01\xff")
    assert event_from_json(event_to_json(made)) == made


def test_queries_are_read_in_the_short_names() -> None:
    document = {
        "filter": {
            "types": ["ERROR", "EVENT_TYPE_RETRY"],
            "severities": ["WARN"],
            "time": {"end": "2026-01-01T00:00:00Z"},
        },
        "order_by_time": "DESC",
        "page_size": 7,
    }
    made = message_from_json(document, query_pb2.QueryRequest, "query")
    assert list(made.filter.types) == [pb.EVENT_TYPE_ERROR, pb.EVENT_TYPE_RETRY]
    assert made.order_by_time == query_pb2.SORT_ORDER_DESC
    with pytest.raises(InvalidInput) as caught:
        message_from_json({"filter": {"types": ["X"]}}, query_pb2.QueryRequest, "query")
    assert caught.value.violations[0].field == "query.filter.types[0]"


def test_defaults_are_written_where_asked_for() -> None:
    assert message_to_json(query_pb2.QueryResponse(), defaults=True) == {"events": [], "next_page_token": ""}
    assert message_to_json(query_pb2.QueryResponse()) == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from([*pb.Event.DESCRIPTOR.fields_by_name, "content", "eventId", "toolCall", "kind", "x"])
contents = st.dictionaries(
    st.sampled_from(["kind", "text", "state", "metadata", "x"]), json_values | st.just("message")
)


@settings(max_examples=800, deadline=None)
@given(st.dictionaries(names, json_values | contents, max_size=4))
def test_any_json_is_an_event_or_invalid_input(document: dict[str, Any]) -> None:
    try:
        made = event_from_json(document)
    except InvalidInput as error:
        assert error.violations[0].field.startswith("event")
        return
    assert parse_events([made.SerializeToString()]) == [made] or "nan" in repr(document).lower()
    json.dumps(event_to_json(made), allow_nan=False)


@given(st.binary(max_size=200))
def test_any_parsed_event_can_be_written(data: bytes) -> None:
    (made,) = parse_events([data])
    if made is not None:
        json.dumps(event_to_json(made), allow_nan=False)


def test_numbers_in_free_form_fields_stay_what_they_are() -> None:
    document = {"metadata": {"int": 3, "big": 2**60, "float": 0.1, "negative": -0.5}}
    written = event_to_json(event_from_json(document))
    assert written == {"metadata": {**document["metadata"], "big": float(2**60)}}
    assert isinstance(written["metadata"]["int"], int)
    assert isinstance(struct_pb2.Value(number_value=3).number_value, float)
