from __future__ import annotations

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2
from google.protobuf import json_format, struct_pb2
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from contracts.topics import MIB
from contracts.v1.facts_pb2 import HandoffFact
from sink.query.answers import checked, set_if_known, set_position, set_time
from sink.query.errors import QueryTooCostly
from sink.query.events import LEFT_OUT, readable, response_bytes, shown
from sink.query.stats import type_name
from sink.times import MAX_NS, MIN_NS
from tests.support.deep_event import deep_event
from tests.support.events import event
from tests.support.sink_records import enriched_value


@given(
    st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.integers(0, 300)), max_size=20),
    st.text("abc", max_size=300),
)
def test_spliced_answers_are_what_protobuf_would_write(found: list[tuple[str, int]], token: str) -> None:
    events = [pb.Event(event_id=text, tags=["x"] * count) for text, count in found]
    wanted = server_pb2.QueryEventsResponse()
    wanted.response.events.extend(events)
    wanted.response.next_page_token = token
    spliced = response_bytes([event.SerializeToString() for event in events], token)
    assert server_pb2.QueryEventsResponse.FromString(spliced) == wanted
    assert spliced == wanted.SerializeToString()


def test_bytes_of_events_are_not_touched() -> None:
    unknown_field = b"\xfa\x7f\x03abc"
    event = b"\x0a\x01a" + unknown_field + b"\x0a\x01b"
    assert event in response_bytes([event], "")


def test_an_event_too_deep_for_a_page_is_shown_without_what_is_too_deep() -> None:
    good, deep = event(event_id="good").SerializeToString(), enriched_value(deep_event("deep"))
    with pytest.raises(DecodeError):
        server_pb2.QueryEventsResponse.FromString(response_bytes([good, deep], "token"))
    shown_good, shown_deep = readable([good, deep])
    assert shown_good == good
    page = server_pb2.QueryEventsResponse.FromString(response_bytes([shown_good, shown_deep], "token")).response
    assert page.next_page_token == "token"
    found = page.events[1]
    mark, ours = found.extensions
    told = struct_pb2.Struct()
    assert mark.Unpack(told)
    assert json_format.MessageToDict(told) == {LEFT_OUT: ["metadata"]}
    assert ours.Unpack(told)
    assert list(told) == ["chaukas.gateway"]
    wanted = event(event_id="deep")
    wanted.extensions.extend(found.extensions)
    assert found == wanted


def test_type_names() -> None:
    assert type_name(pb.EVENT_TYPE_MCP_CALL_END) == "EVENT_TYPE_MCP_CALL_END"
    assert type_name(4711) == "EVENT_TYPE_4711"
    assert type_name(-3) == "EVENT_TYPE_-3"


@given(st.integers(MIN_NS, MAX_NS))
def test_times(nanoseconds: int) -> None:
    fact = HandoffFact()
    set_time(fact, "handed_off_at", nanoseconds)
    assert fact.handed_off_at.seconds * 10**9 + fact.handed_off_at.nanos == nanoseconds
    assert 0 <= fact.handed_off_at.nanos < 10**9


def test_what_is_not_known_stays_absent() -> None:
    fact = HandoffFact()
    set_time(fact, "picked_up_at", None)
    set_position(fact, "source", "raw", None, None)
    set_if_known(fact, latency_ms=None)
    assert fact == HandoffFact()
    set_if_known(fact, latency_ms=0.0)
    set_position(fact, "source", "raw", 0, 0)
    assert fact.HasField("latency_ms")
    assert fact.HasField("source")


def test_an_answer_without_pages_has_a_limit() -> None:
    fits = HandoffFact(reason="x" * (3 * MIB - 100))
    assert checked(fits) == fits.SerializeToString()
    with pytest.raises(QueryTooCostly):
        checked(HandoffFact(reason="x" * (3 * MIB + 1)))


def test_of_several_copies_the_largest_version_is_shown() -> None:
    here, there, gone = (1, 2, "p"), (1, 2, "q"), (3, 4, "p")
    rows = [
        (*here, 7, 300, 0, b"later copy"),
        (*here, 9, 100, 0, b"first copy"),
        (*here, 9, 200, 0, b"first copy, stored again"),
        (*here, 8, 300, 1, b""),
        (*there, 1, 100, 0, b"only copy"),
        (*gone, 5, 200, 0, b"loser"),
        (*gone, 6, 100, 1, b""),
    ]
    for ordered in (rows, rows[::-1]):
        assert shown(ordered) == {here: b"first copy, stored again", there: b"only copy"}
