"""Queries go to the sink as the caller's, and its answers and refusals come back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.common.v1 import query_pb2
from chaukas.spec.server.v1 import server_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.struct_pb2 import Struct
from google.rpc import error_details_pb2, status_pb2

from contracts.spec_json import event_to_json
from contracts.v1 import insights_pb2
from runtime.settings import KafkaSettings
from tests.integration.gateway.harness import (
    PROJECT,
    TENANT,
    FakeSink,
    RunningGateway,
    refused_by_grpc,
    refused_by_http,
)
from tests.support.events import event

STORED = event(pb.EVENT_TYPE_TOOL_CALL_START, tenant=TENANT, project=PROJECT, tool_call=pb.ToolCall(id="1", name="t"))


def _extended() -> pb.Event:
    extension = Struct()
    extension.update({"chaukas.gateway": {"received_at": "2026-01-01T00:00:00.000000000Z"}})
    made = pb.Event()
    made.CopyFrom(STORED)
    packed = AnyMessage()
    packed.Pack(extension)
    made.extensions.append(packed)
    return made


def answer(method: str, request: bytes, context: grpc.ServicerContext) -> Any:
    name = method.rpartition("/")[2]
    if name == "QueryEvents":
        asked = server_pb2.QueryEventsRequest.FromString(request).query
        if asked.page_token == "forged":
            refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "page_token: is not one of ours", "query.page_token")
        if asked.page_token == "broken":
            raise RuntimeError("secret internals")
        if asked.page_token == "token":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong token")
        response = query_pb2.QueryResponse(events=[_extended()], next_page_token="next")
        return server_pb2.QueryEventsResponse(response=response).SerializeToString()
    if name == "GetEventStats":
        stats = server_pb2.GetEventStatsResponse(total_events=3, total_sessions=1, avg_session_duration_ms=1.5)
        stats.events_by_type["EVENT_TYPE_ERROR"] = 3
        return stats.SerializeToString()
    return b""


def refuse(context: Any, code: grpc.StatusCode, message: str, field: str) -> None:
    status = status_pb2.Status(code=code.value[0], message=message)
    detail = AnyMessage()
    bad_request = error_details_pb2.BadRequest()
    bad_request.field_violations.add(field=field, description="is not one of ours")
    detail.Pack(bad_request)
    status.details.append(detail)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, message)


@pytest.fixture(scope="module")
def sink() -> Iterator[FakeSink]:
    made = FakeSink(answer)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def asked(
    gateway_topics: KafkaSettings, sink: FakeSink, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    running = RunningGateway(gateway_topics, tmp_path_factory.mktemp("keys"), sink_target=f"127.0.0.1:{sink.port}")
    yield running
    running.stop()


def query(**filters: Any) -> Any:
    return server_pb2.QueryEventsRequest(query=query_pb2.QueryRequest(filter=query_pb2.QueryFilter(**filters)))


def test_a_query_carries_the_callers_identity(asked: RunningGateway, sink: FakeSink) -> None:
    found = asked.server.QueryEvents(query(project_id=PROJECT), metadata=asked.keys.project.metadata).response
    assert list(found.events) == [_extended()]
    method, request, identity, _ = sink.calls[-1]
    assert method == "/chaukas.spec.server.v1.ChaukasServerService/QueryEvents"
    assert (identity.tenant_id, identity.projects) == (TENANT, frozenset({PROJECT}))
    assert server_pb2.QueryEventsRequest.FromString(request).query.filter.tenant_id == TENANT
    assert asked.client.QueryEvents(query(), metadata=asked.keys.full.metadata).response == found
    assert sink.calls[-1][2].projects is None


@pytest.mark.parametrize("filters", [{"tenant_id": "other"}, {"project_id": "other"}])
def test_another_tenant_or_project_is_denied_before_the_sink(
    asked: RunningGateway, sink: FakeSink, filters: dict[str, str]
) -> None:
    before = len(sink.calls)
    metadata = asked.keys.project.metadata
    calls: list[tuple[Any, Any]] = [
        (asked.server.QueryEvents, query(**filters)),
        (asked.server.GetEventStats, server_pb2.GetEventStatsRequest(**filters)),
        (asked.insights.ListHandoffs, insights_pb2.ListHandoffsRequest(filter=query_pb2.QueryFilter(**filters))),
        (asked.insights.ListMcpCalls, insights_pb2.ListMcpCallsRequest(filter=query_pb2.QueryFilter(**filters))),
        (asked.insights.GetHandoffStats, insights_pb2.GetHandoffStatsRequest(**filters)),
        (asked.insights.GetMcpStats, insights_pb2.GetMcpStatsRequest(**filters)),
    ]
    for call, request in calls:
        with pytest.raises(grpc.RpcError) as caught:
            call(request, metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    for path, body in (("/query", {"filter": filters}), ("/stats", filters)):
        assert asked.http.post(path, json=body, headers=asked.keys.project.headers).status_code == 403
    assert len(sink.calls) == before


def test_insights_reach_the_sink(asked: RunningGateway, sink: FakeSink) -> None:
    asked.insights.GetMcpStats(insights_pb2.GetMcpStatsRequest(), metadata=asked.keys.full.metadata)
    method, request, *_ = sink.calls[-1]
    assert method == "/chaukas.gateway.v1.InsightsService/GetMcpStats"
    assert insights_pb2.GetMcpStatsRequest.FromString(request).tenant_id == TENANT


def test_queries_in_json(asked: RunningGateway, sink: FakeSink) -> None:
    body = {
        "filter": {"types": ["TOOL_CALL_START"], "time": {"start": "2026-01-01T00:00:00Z"}, "tags": ["a"]},
        "page_size": 5,
        "order_by_time": "ASC",
    }
    answered = asked.http.post("/v1/query", json=body).json()
    assert answered == {"events": [event_to_json(_extended())], "next_page_token": "next"}
    assert answered["events"][0]["content"] == {"kind": "tool_call", "id": "1", "name": "t"}
    assert answered["events"][0]["type"] == "TOOL_CALL_START"
    assert answered["events"][0]["extensions"][0]["value"]["chaukas.gateway"]["received_at"].startswith("2026")
    sent = server_pb2.QueryEventsRequest.FromString(sink.calls[-1][1]).query
    assert list(sent.filter.types) == [pb.EVENT_TYPE_TOOL_CALL_START]
    assert (sent.page_size, sent.order_by_time) == (5, query_pb2.SORT_ORDER_ASC)
    assert sent.filter.time.start.seconds == 1767225600
    assert asked.http.post("/query").json() == answered


def test_statistics_in_json(asked: RunningGateway, sink: FakeSink) -> None:
    answered = asked.http.post("/stats", json={"project_id": PROJECT}).json()
    assert answered == {
        "total_events": 3,
        "total_sessions": 1,
        "events_by_type": {"EVENT_TYPE_ERROR": 3},
        "avg_session_duration_ms": 1.5,
    }
    assert server_pb2.GetEventStatsRequest.FromString(sink.calls[-1][1]).project_id == PROJECT


def test_queries_in_protobuf(asked: RunningGateway) -> None:
    headers = {"content-type": "application/x-protobuf", "accept": "application/x-protobuf"}
    answered = asked.http.post("/query", content=query().SerializeToString(), headers=headers)
    assert server_pb2.QueryEventsResponse.FromString(answered.content).response.next_page_token == "next"


def with_token(token: str) -> Any:
    return server_pb2.QueryEventsRequest(query=query_pb2.QueryRequest(page_token=token))


def test_the_sinks_refusal_is_passed_on(asked: RunningGateway) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        asked.server.QueryEvents(with_token("forged"), metadata=asked.keys.full.metadata)
    refused = refused_by_grpc(caught.value)
    assert (refused.code, refused.text) == ("INVALID_ARGUMENT", "page_token: is not one of ours")
    assert refused.violations == {"query.page_token": "is not one of ours"}
    over_http = refused_by_http(asked.http.post("/query", json={"page_token": "forged"}))
    assert (over_http.code, over_http.violations) == ("400", refused.violations)


def test_the_sinks_trouble_is_not_shown(asked: RunningGateway) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        asked.server.QueryEvents(with_token("broken"), metadata=asked.keys.full.metadata)
    assert "secret" not in refused_by_grpc(caught.value).text
    assert asked.http.post("/query", json={"page_token": "broken"}).status_code == 502


def test_a_sink_that_does_not_know_this_gateway_is_not_the_callers_fault(asked: RunningGateway) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        asked.server.QueryEvents(with_token("token"), metadata=asked.keys.full.metadata)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_sink_that_is_away_costs_queries_only(gateway: RunningGateway) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        gateway.server.QueryEvents(query(), metadata=gateway.keys.full.metadata, timeout=20)
    refused = refused_by_grpc(caught.value)
    assert refused.code == "UNAVAILABLE"
    assert refused.retry_after
    over_http = gateway.http.post("/query", json={})
    assert over_http.status_code == 503
    assert over_http.headers["retry-after"]
    assert gateway.http.get("/readyz").status_code == 200
