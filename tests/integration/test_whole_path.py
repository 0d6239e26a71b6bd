"""From every front door to a ClickHouse answer, through the running system."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable

import grpc
import httpx
import pytest
from chaukas.sdk.core.client import ChaukasClient
from chaukas.sdk.core.config import ChaukasConfig
from chaukas.spec.client.v1 import client_pb2
from chaukas.spec.client.v1.client_pb2_grpc import ChaukasClientServiceStub
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2, status_pb2

from contracts.spec_json import event_to_json
from contracts.v1 import insights_pb2
from tests.support.events import event, seeded_sessions
from tests.support.stack import Client, Stack
from tests.support.waiting import wait_for

Send = Callable[[Stack, Client, list[pb.Event]], None]


def _grpc_server_stub(stack: Stack, client: Client, events: list[pb.Event]) -> None:
    answer = client.send_batch(events[1:])
    assert (answer.accepted_count, answer.rejected_count) == (len(events) - 1, 0)
    single = client.stub.IngestEvent(server_pb2.IngestEventRequest(event=events[0]), metadata=client.metadata)
    assert (single.event_id, single.status) == (events[0].event_id, "accepted")
    assert single.processed_at > 1_700_000_000_000


def _grpc_client_stub(stack: Stack, client: Client, events: list[pb.Event]) -> None:
    stub = ChaukasClientServiceStub(client.channel)
    request = client_pb2.IngestEventBatchRequest()
    request.event_batch.events.extend(events[1:])
    stub.IngestEventBatch(request, metadata=client.metadata)
    stub.IngestEvent(client_pb2.IngestEventRequest(event=events[0]), metadata=client.metadata)


def _post(stack: Stack, path: str, body: bytes, content_type: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {stack.endpoints.api_key}", "content-type": content_type}
    return httpx.post(f"{stack.endpoints.http_url}{path}", content=body, headers=headers, timeout=30)


def _http_protobuf(stack: Stack, client: Client, events: list[pb.Event]) -> None:
    request = client_pb2.IngestEventBatchRequest()
    request.event_batch.events.extend(events[1:])
    answer = _post(stack, "/events/batch", request.SerializeToString(), "application/x-protobuf")
    assert answer.status_code == 202, answer.text
    assert answer.json()["accepted_count"] == len(events) - 1
    single = client_pb2.IngestEventRequest(event=events[0]).SerializeToString()
    assert _post(stack, "/v1/events", single, "application/x-protobuf").status_code == 202


def _http_openapi_json(stack: Stack, client: Client, events: list[pb.Event]) -> None:
    body = json.dumps({"events": [event_to_json(e) for e in events[1:]]}).encode()
    answer = _post(stack, "/v1/events/batch", body, "application/json")
    assert answer.status_code == 202, answer.text
    assert answer.json()["accepted_count"] == len(events) - 1
    assert (
        _post(stack, "/v1/events", json.dumps(event_to_json(events[0])).encode(), "application/json").status_code == 202
    )


def _http_protobuf_json(stack: Stack, client: Client, events: list[pb.Event]) -> None:
    body = json.dumps({"events": [MessageToDict(e, preserving_proto_field_name=True) for e in events]}).encode()
    answer = _post(stack, "/v1/events/batch", body, "application/json")
    assert answer.status_code == 202, answer.text


DOORS: dict[str, Send] = {
    "grpc-server-stub": _grpc_server_stub,
    "grpc-client-stub": _grpc_client_stub,
    "http-protobuf": _http_protobuf,
    "http-openapi-json": _http_openapi_json,
    "http-protobuf-json": _http_protobuf_json,
}


def test_every_door_gives_the_same_rows_and_answers(stack: Stack, client: Client) -> None:
    """The same story, told once through each door, with ids of its own: answers differ in nothing but those ids."""
    project = f"doors-{uuid.uuid4().hex[:8]}"
    (story,) = seeded_sessions(11, 1, tenant=stack.endpoints.tenant_id, project=project)
    told: dict[str, list[tuple[object, ...]]] = {}
    for door, send in DOORS.items():
        renamed = []
        for original in story:
            copy = pb.Event()
            copy.CopyFrom(original)
            copy.event_id = f"{door}-{original.event_id}"
            copy.session_id = f"{door}-session"
            renamed.append(copy)
        send(stack, client, renamed)
        stored = client.wait_stored({e.event_id for e in renamed}, session_id=f"{door}-session", project_id=project)
        assert len(stored) == len(renamed)
        told[door] = [_comparable(stored[e.event_id], door) for e in renamed]
        for sent in renamed:  # what the client sent is a prefix of what comes back
            kept = pb.Event()
            kept.CopyFrom(stored[sent.event_id])
            del kept.extensions[-1]
            assert kept == sent
    first = told.pop("grpc-server-stub")
    for door, rows in told.items():
        assert rows == first, door


def _comparable(stored: pb.Event, door: str) -> tuple[object, ...]:
    extension = stored.extensions[-1]
    struct = Struct()
    assert extension.Unpack(struct)
    facts = MessageToDict(struct)["chaukas.gateway"]
    return (
        stored.event_id.removeprefix(f"{door}-"),
        facts.get("effective_status"),
        facts.get("duration_ms"),
        facts.get("recovered"),
        facts.get("cost_usd"),
    )


def test_statistics_equal_a_recount(stack: Stack, client: Client) -> None:
    project = f"stats-{uuid.uuid4().hex[:8]}"
    sessions = list(seeded_sessions(12, 30, tenant=stack.endpoints.tenant_id, project=project))
    events = [e for session in sessions for e in session]
    for start in range(0, len(events), 200):
        client.send_until_accepted(events[start : start + 200])
    client.send_until_accepted(events[:150])  # a re-send changes no statistic
    client.wait_stored({e.event_id for e in events}, project_id=project)
    stats = client.stats(project_id=project)
    assert stats.total_events == len(events)
    assert stats.total_sessions == len(sessions)
    assert dict(stats.events_by_type) == Counter(pb.EventType.Name(e.type) for e in events)
    durations = [
        (max(e.timestamp.ToNanoseconds() for e in s) - min(e.timestamp.ToNanoseconds() for e in s)) / 1e6
        for s in sessions
    ]
    assert stats.avg_session_duration_ms == pytest.approx(sum(durations) / len(durations), rel=1e-6)


async def test_the_real_sdk_drains_a_queue_of_20000_events(stack: Stack, client: Client) -> None:
    """The gateway was away: the SDK kept everything and flushes its whole queue in one request."""
    project = f"drain-{uuid.uuid4().hex[:8]}"
    made = seeded_sessions(13, 1400, tenant=stack.endpoints.tenant_id, project=project)
    events = [e for session in made for e in session][:20_000]
    assert len(events) == 20_000
    config = ChaukasConfig(
        tenant_id=stack.endpoints.tenant_id,
        project_id=project,
        endpoint="http://127.0.0.1:9",  # nobody listens there: the gateway is away
        api_key=stack.endpoints.api_key,
        batch_size=10**6,
        enable_adaptive_batching=False,
    )
    sdk = ChaukasClient(config=config)
    await sdk.send_events(events)
    await sdk.flush()
    assert len(sdk._events_queue) == 20_000
    sdk.endpoint = stack.endpoints.http_url
    await sdk.flush()
    assert sdk._events_queue == []
    await sdk.close()
    found = client.wait_stored({e.event_id for e in events}, project_id=project)
    assert len(found) == 20_000
    assert client.stats(project_id=project).total_events == 20_000


def test_a_thousand_rejects_are_an_ok_call(stack: Stack, client: Client) -> None:
    request = server_pb2.IngestEventBatchRequest()
    for number in range(1000):
        request.event_batch.events.add(event_id="x" * 200 + str(number), tenant_id="somebody-else")
    answer, call = client.stub.IngestEventBatch.with_call(request, metadata=client.metadata, timeout=20)
    assert call.code() is grpc.StatusCode.OK
    assert (answer.accepted_count, answer.rejected_count, len(answer.rejected_event_ids)) == (0, 1000, 1000)
    details = dict(call.trailing_metadata())["grpc-status-details-bin"]
    assert len(details) <= 4096
    bad = error_details_pb2.BadRequest()
    assert status_pb2.Status.FromString(details).details[0].Unpack(bad)
    assert bad.field_violations[0].field.startswith("event_batch.events[0]")
    assert "more" in bad.field_violations[-1].description


def test_invalid_utf8_costs_only_its_event(stack: Stack, client: Client) -> None:
    project = f"utf8-{uuid.uuid4().hex[:8]}"
    events = [
        event(tenant=stack.endpoints.tenant_id, project=project, event_id=f"{project}-{n}", agent_name="agent-nnn")
        for n in range(3)
    ]
    request = server_pb2.IngestEventBatchRequest()
    request.event_batch.events.extend(events)
    data = request.SerializeToString()
    at = data.index(b"agent-nnn", data.index(f"{project}-1".encode()))
    data = data[:at] + b"agent-\xff\xfen" + data[at + 9 :]
    call = client.channel.unary_unary(
        "/chaukas.spec.server.v1.ChaukasServerService/IngestEventBatch",
        request_serializer=None,
        response_deserializer=server_pb2.IngestEventBatchResponse.FromString,
    )
    answer = call(data, metadata=client.metadata)
    assert (answer.accepted_count, list(answer.rejected_event_ids)) == (2, ["#1"])
    found = client.wait_stored({f"{project}-0", f"{project}-2"}, project_id=project)
    assert f"{project}-1" not in found


def test_pages_cover_everything_once(stack: Stack, client: Client) -> None:
    project = f"pages-{uuid.uuid4().hex[:8]}"
    sessions = seeded_sessions(14, 12, tenant=stack.endpoints.tenant_id, project=project)
    events = [e for session in sessions for e in session]
    client.send_until_accepted(events)
    client.wait_stored({e.event_id for e in events}, project_id=project)
    found = client.query_all(page_size=7, project_id=project)
    assert [e.event_id for e in found] == [
        e.event_id for e in sorted(found, key=lambda e: e.timestamp.ToNanoseconds(), reverse=True)
    ]
    assert Counter(e.event_id for e in found) == Counter(e.event_id for e in events)


def test_hand_offs_and_mcp_calls_are_first_class(stack: Stack, client: Client) -> None:
    project = f"facts-{uuid.uuid4().hex[:8]}"
    sessions = list(seeded_sessions(15, 20, tenant=stack.endpoints.tenant_id, project=project))
    events = [e for session in sessions for e in session]
    client.send_until_accepted(events)
    client.wait_stored({e.event_id for e in events}, project_id=project)
    sent = [e for e in events if e.type == pb.EVENT_TYPE_AGENT_HANDOFF]
    starts = [e for e in events if e.type == pb.EVENT_TYPE_MCP_CALL_START]
    ends = [e for e in events if e.type == pb.EVENT_TYPE_MCP_CALL_END]
    failed = [e for e in ends if e.HasField("error")]
    assert sent and failed and len(ends) < len(starts), "the story must hold every case"

    def handoffs() -> list[object] | None:
        request = insights_pb2.ListHandoffsRequest(page_size=1000)
        request.filter.project_id = project
        answer = client.insights.ListHandoffs(request, metadata=client.metadata)
        done = [h for h in answer.handoffs if h.HasField("picked_up_at")]
        return list(answer.handoffs) if len(done) == len(sent) else None

    found = wait_for("every hand-off to be picked up", handoffs)
    assert {h.handoff_id for h in found} == {e.event_id for e in sent}  # type: ignore[attr-defined]

    request = insights_pb2.GetMcpStatsRequest(project_id=project)

    def mcp() -> object | None:
        servers = client.insights.GetMcpStats(request, metadata=client.metadata).servers
        return servers if sum(s.errors for s in servers) == len(failed) else None

    servers = wait_for("every MCP call to be paired", mcp)
    assert sum(s.calls for s in servers) == len(starts)  # type: ignore[attr-defined]
    assert sum(s.open for s in servers) == len(starts) - len(ends)  # type: ignore[attr-defined]
    assert {s.server_name for s in servers} == {e.mcp_call.server_name for e in starts}  # type: ignore[attr-defined]
