"""A page as JSON, whatever is stored."""

from __future__ import annotations

import json

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2
from google.protobuf.message import DecodeError

from gateway.http_json import query_to_json
from sink.query.events import response_bytes
from tests.fuzz.wire_shapes import field
from tests.support.events import event


def deep_event() -> bytes:
    """As deep as protobuf reads it by itself, and so too deep inside a page. Only who writes to a topic can bring one in."""
    base = event(event_id="deep").SerializeToString()
    number = pb.Event.DESCRIPTOR.fields_by_name["metadata"].number
    deepest = b""
    for depth in range(1, 60):
        value = b"\x1a\x01x"
        for _ in range(depth):
            value = field(5, 2, field(1, 2, field(1, 2, b"a") + field(2, 2, value)))
        made = base + field(number, 2, field(1, 2, field(1, 2, b"a") + field(2, 2, value)))
        try:
            pb.Event.FromString(made)
        except DecodeError:
            break
        deepest = made
    return deepest


def test_an_event_too_deep_for_a_page_does_not_cost_the_page() -> None:
    good, deep = event(event_id="good").SerializeToString(), deep_event()
    raw = response_bytes([good, deep], "token")
    with pytest.raises(DecodeError):
        server_pb2.QueryEventsResponse.FromString(raw)
    page = json.loads(query_to_json(raw))
    assert [found["event_id"] for found in page["events"]] == ["good", "deep"]
    assert page["next_page_token"] == "token"


def test_both_ways_write_the_same() -> None:
    raw = response_bytes([event(event_id="good").SerializeToString()], "token")
    whole = json.loads(query_to_json(raw))
    deep = json.loads(
        query_to_json(response_bytes([event(event_id="good").SerializeToString(), deep_event()], "token"))
    )
    assert deep["events"][0] == whole["events"][0]
    assert whole.keys() == deep.keys()
