"""Who may do what, on every door; and what the HTTP door refuses before it looks at a body."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest
from chaukas.spec.server.v1 import server_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from openapi_spec_validator import validate

from contracts.spec_json import event_to_json
from tests.integration.gateway.harness import PROJECT, TENANT, RunningGateway
from tests.support.events import event
from tests.support.waiting import wait_for

EVENT = server_pb2.IngestEventRequest(event=event(tenant=TENANT, project=PROJECT))
QUERY = server_pb2.QueryEventsRequest()


def code_of(call: Any, request: Any, authorization: str | None) -> grpc.StatusCode:
    metadata = () if authorization is None else (("authorization", authorization),)
    with pytest.raises(grpc.RpcError) as caught:
        call(request, metadata=metadata)
    code: grpc.StatusCode = caught.value.code()
    return code


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Basic abc", "Bearer nonsense", "Bearer ck_000000000000_aaaa", "ck_x"]
)
def test_without_a_known_key_nothing_is_accepted(gateway: RunningGateway, authorization: str | None) -> None:
    for call, request in [
        (gateway.server.IngestEvent, EVENT),
        (gateway.client.IngestEvent, EVENT),
        (gateway.server.IngestEventBatch, server_pb2.IngestEventBatchRequest()),
        (gateway.server.QueryEvents, QUERY),
        (gateway.server.GetEventStats, server_pb2.GetEventStatsRequest()),
        (gateway.server.GetCapabilities, server_pb2.GetCapabilitiesRequest()),
    ]:
        assert code_of(call, request, authorization) is grpc.StatusCode.UNAUTHENTICATED
    for path in ("/events", "/v1/events", "/events/batch", "/v1/query", "/stats"):
        answer = gateway.http.post(path, json={}, headers={"authorization": authorization or ""})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["code"] == "UNAUTHENTICATED"


def test_a_key_does_only_what_its_scopes_say(gateway: RunningGateway) -> None:
    ingest, query = gateway.keys.ingest_only, gateway.keys.query_only
    denied = grpc.StatusCode.PERMISSION_DENIED
    assert code_of(gateway.server.IngestEvent, EVENT, f"Bearer {query.text}") is denied
    assert code_of(gateway.server.QueryEvents, QUERY, f"Bearer {ingest.text}") is denied
    document = event_to_json(EVENT.event)
    assert gateway.http.post("/events", json=document, headers=query.headers).status_code == 403
    assert gateway.http.post("/events", json=document, headers=ingest.headers).status_code == 202
    assert gateway.http.post("/query", json={}, headers=ingest.headers).status_code == 403


def test_new_and_revoked_keys_take_effect_without_a_restart(gateway: RunningGateway) -> None:
    document = event_to_json(EVENT.event)

    def status(headers: dict[str, str]) -> int:
        return gateway.http.post("/events", json=document, headers=headers).status_code

    key = gateway.keys.add()
    wait_for("the new key to work", lambda: status(key.headers) == 202, seconds=10)
    gateway.keys.revoke(key)
    wait_for("the revoked key to stop", lambda: status(key.headers) == 401, seconds=10)


def test_probes_need_no_key(gateway: RunningGateway) -> None:
    assert gateway.server.Healthz(server_pb2.HealthzRequest()) == server_pb2.HealthzResponse()
    health: Any = health_pb2_grpc.HealthStub(gateway.channel)
    for service in ("", "readiness", "chaukas.spec.server.v1.ChaukasServerService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(gateway.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (listed,) = reflection.ServerReflectionInfo(iter([request]))
    names = {service.name for service in listed.list_services_response.service}
    assert {
        "chaukas.spec.server.v1.ChaukasServerService",
        "chaukas.spec.client.v1.ChaukasClientService",
        "chaukas.gateway.v1.InsightsService",
        "grpc.health.v1.Health",
    } <= names
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert gateway.http.get(path, headers={"authorization": ""}).status_code == 200
    assert b"gateway_events_accepted_total" in gateway.http.get("/metrics").content


def test_capabilities_say_true_only_for_what_works(gateway: RunningGateway) -> None:
    answer = gateway.server.GetCapabilities(
        server_pb2.GetCapabilitiesRequest(), metadata=gateway.keys.query_only.metadata
    ).capabilities
    assert {field.name for field, value in answer.ListFields() if value} == {
        "rbac",
        "policy_decisions",
        "data_access_events",
    }
    assert gateway.http.get("/v1/capabilities").json() == {
        field.name: getattr(answer, field.name) for field in answer.DESCRIPTOR.fields
    }


def test_the_openapi_document_is_one(gateway: RunningGateway) -> None:
    validate(gateway.http.get("/openapi.json").json())


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/events", {}, 405),
        ("PUT", "/v1/events/batch", {}, 405),
        ("POST", "/healthz", {}, 405),
        ("POST", "/v1/capabilities", {}, 405),
        ("GET", "/", {}, 404),
        ("POST", "/v2/events", {}, 404),
        ("POST", "/events/", {}, 404),
        ("POST", "/events", {"content-type": "text/plain"}, 415),
        ("POST", "/events", {"content-type": ""}, 415),
        ("POST", "/events/batch", {"content-type": "application/json", "content-encoding": "gzip"}, 415),
        ("POST", "/query", {"content-type": "application/xml"}, 415),
    ],
)
def test_what_http_refuses(
    gateway: RunningGateway, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = gateway.http.request(method, path, content=b"x" if method == "POST" else None, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]
    if status == 405:
        assert answer.headers["allow"] in ("POST", "GET")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"9" * 100_000,
        b'{"event_id": NaN}',
        b'"text"',
        b"null",
        b"[]",
        b'{"event_id": "\\ud800"}',
        b'{"event_id": 1}',
        b'{"type": 99999999999999999999}',
        b'{"metadata": {"n": 1e999999}}',
        b'{"metadata": {"n": ' + b"1" * 4000 + b"}}",
        b'{"metadata": ' + b'{"a":' * 31 + b"1" + b"}" * 31 + b"}",
        b'{"extensions": [{"@type": "x"}]}',
        b'{"tool_call": {}, "message": {}}',
        b'{"content": {"kind": "message"}, "message": {}}',
        b'{"content": {"kind": "nonsense"}}',
        b'{"nonsense": 1}',
    ],
)
@pytest.mark.parametrize("path", ["/events", "/events/batch", "/query", "/stats"])
def test_bad_json_is_the_callers_fault_and_never_ours(gateway: RunningGateway, path: str, body: bytes) -> None:
    if not body and path in ("/query", "/stats"):
        return
    started = time.monotonic()
    answer = gateway.http.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "INVALID_ARGUMENT"
    assert time.monotonic() - started < 5
