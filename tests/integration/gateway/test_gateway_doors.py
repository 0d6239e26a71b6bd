"""Every door writes the same raw records."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from chaukas.spec.client.v1 import client_pb2
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2
from google.protobuf.json_format import MessageToDict

from contracts.headers import EventHeaders
from contracts.spec_json import event_to_json
from contracts.validation import type_name
from tests.integration.gateway.harness import PROJECT, TENANT, RawTopic, RunningGateway, batch_request
from tests.support.events import event, seeded_sessions

PROTOBUF = {"content-type": "application/x-protobuf"}
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def _grpc_server(gateway: RunningGateway, events: list[pb.Event]) -> None:
    metadata = (*gateway.keys.full.metadata, ("traceparent", TRACEPARENT))
    answer = gateway.server.IngestEventBatch(batch_request(events, "the-batch"), metadata=metadata)
    assert (answer.batch_id, answer.accepted_count, answer.rejected_count) == ("the-batch", len(events), 0)


def _grpc_client(gateway: RunningGateway, events: list[pb.Event]) -> None:
    metadata = (*gateway.keys.full.metadata, ("traceparent", TRACEPARENT))
    request = client_pb2.IngestEventBatchRequest(event_batch=pb.EventBatch(batch_id="the-batch", events=events))
    answer = gateway.client.IngestEventBatch(request, metadata=metadata)
    assert answer == client_pb2.IngestEventBatchResponse()
    assert not answer.ByteSize()


def _http(gateway: RunningGateway, body: bytes, content_type: str, count: int) -> None:
    headers = {"content-type": content_type, "traceparent": TRACEPARENT}
    answer = gateway.http.post("/events/batch", content=body, headers=headers)
    assert answer.status_code == 202, answer.text
    assert answer.json() == {
        "batch_id": "the-batch",
        "accepted_count": count,
        "rejected_count": 0,
        "rejected_event_ids": [],
        "rejected": [],
    }


def _http_protobuf(gateway: RunningGateway, events: list[pb.Event]) -> None:
    body = batch_request(events, "the-batch").SerializeToString()
    _http(gateway, body, "application/x-protobuf", len(events))


def _http_json(gateway: RunningGateway, events: list[pb.Event]) -> None:
    document = {"batch_id": "the-batch", "events": [event_to_json(each) for each in events]}
    _http(gateway, json.dumps(document).encode(), "application/json; charset=utf-8", len(events))


def _http_canonical_json(gateway: RunningGateway, events: list[pb.Event]) -> None:
    document = {"eventBatch": {"batchId": "the-batch", "events": [MessageToDict(each) for each in events]}}
    _http(gateway, json.dumps(document).encode(), "application/json", len(events))


@pytest.mark.parametrize("door", [_grpc_server, _grpc_client, _http_protobuf, _http_json, _http_canonical_json])
def test_the_same_events_make_the_same_raw_records(
    gateway: RunningGateway, raw: RawTopic, door: Callable[[RunningGateway, list[pb.Event]], None]
) -> None:
    events = [each for session in seeded_sessions(7, 2, tenant=TENANT, project=PROJECT) for each in session]
    events.append(event(999, tenant=TENANT, project="", session="", event_id="odd", at_ns=None, trace_id="the-trace"))
    events.append(event(tenant=TENANT, project=PROJECT, session="", event_id="alone"))
    sent = {each.event_id: each for each in events}
    before = time.time_ns()
    door(gateway, events)
    records = raw.read(len(events))
    received = set()
    for record in records:
        parsed = EventHeaders.parse(record.headers())
        original = sent.pop(parsed.event_id)
        stored = pb.Event.FromString(record.value())
        assert stored == original
        if "json" not in door.__name__:
            assert record.value() == original.SerializeToString()
        headers = dict(record.headers())
        assert list(headers) == [name for name, _ in record.headers()]
        assert headers["event_type"].decode() == type_name(original.type)
        assert (parsed.tenant_id, parsed.project_id) == (original.tenant_id, original.project_id)
        assert (parsed.batch_id, parsed.traceparent) == ("the-batch", TRACEPARENT)
        assert before <= parsed.received_at_ns <= time.time_ns()
        assert record.timestamp()[1] == parsed.received_at_ns // 1_000_000
        assert record.key().decode() == (original.session_id or original.trace_id or original.event_id)
        received.add(parsed.received_at_ns)
    assert not sent
    assert len(received) == 1
    assert raw.nothing_more()


def test_events_of_a_session_keep_their_order(gateway: RunningGateway, raw: RawTopic) -> None:
    events = [event(tenant=TENANT, project=PROJECT, session="ordered", event_id=f"o{i}") for i in range(200)]
    _grpc_server(gateway, events)
    assert [dict(r.headers())["event_id"].decode() for r in raw.read(200)] == [f"o{i}" for i in range(200)]


@pytest.mark.parametrize("door", ["grpc", "protobuf", "json"])
def test_a_single_event_says_when_it_was_processed(gateway: RunningGateway, raw: RawTopic, door: str) -> None:
    one = event(tenant=TENANT, project=PROJECT, event_id=str(uuid.uuid4()))
    request = server_pb2.IngestEventRequest(event=one)
    answer: dict[str, Any]
    if door == "grpc":
        message = gateway.server.IngestEvent(request, metadata=gateway.keys.full.metadata)
        answer = {"event_id": message.event_id, "status": message.status, "processed_at": message.processed_at}
    elif door == "protobuf":
        answer = gateway.http.post("/v1/events", content=request.SerializeToString(), headers=PROTOBUF).json()
    else:
        answer = gateway.http.post("/v1/events", json={"event": event_to_json(one)}).json()
    processed_at = answer.pop("processed_at")
    assert answer == {"event_id": one.event_id, "status": "accepted"}
    assert abs(processed_at - time.time() * 1000) < 60_000
    (record,) = raw.read(1)
    assert pb.Event.FromString(record.value()) == one
    assert "batch_id" not in dict(record.headers())


def test_a_malformed_traceparent_is_left_out(gateway: RunningGateway, raw: RawTopic) -> None:
    one = event(tenant=TENANT, project=PROJECT)
    gateway.http.post("/events", json=event_to_json(one), headers={"traceparent": "00-xyz"}).raise_for_status()
    assert "traceparent" not in dict(raw.read(1)[0].headers())


def test_an_answer_in_protobuf_for_who_asks(gateway: RunningGateway) -> None:
    body = batch_request([event(tenant=TENANT, project=PROJECT)], "b").SerializeToString()
    headers = {**PROTOBUF, "accept": "application/x-protobuf"}
    answer = gateway.http.post("/events/batch", content=body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (202, "application/x-protobuf")
    assert server_pb2.IngestEventBatchResponse.FromString(answer.content).accepted_count == 1
