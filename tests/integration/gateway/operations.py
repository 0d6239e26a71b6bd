"""Every operation of every door with what it needs, every kind of caller, and how to make a call.

The tables of rules are written by hand, the operations come from the service descriptors and the route table: one that has no
rule fails :mod:`test_access_matrix`.
"""

from __future__ import annotations

import enum
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
from chaukas.spec.client.v1 import client_pb2
from chaukas.spec.common.v1 import query_pb2
from chaukas.spec.server.v1 import server_pb2
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from contracts import api_keys
from contracts.identity import Scope
from contracts.spec_json import event_to_json
from contracts.v1 import insights_pb2, store_admin_pb2
from runtime.keyfile import write_keys
from tests.integration.gateway.harness import PROJECT, TENANT, Key, KeyFile, RunningGateway
from tests.support.events import event
from tests.support.waiting import wait_for

OTHER_TENANT, OTHER_PROJECT = "umbrella", "vault"
#: Files whose services the doors may serve.
FILES = (server_pb2, client_pb2, insights_pb2, store_admin_pb2, health_pb2, reflection_pb2)


class Rule(enum.Enum):
    """What an operation needs."""

    PUBLIC = enum.auto()
    ANY_KEY = enum.auto()
    INGEST = enum.auto()
    INGEST_BATCH = enum.auto()
    QUERY = enum.auto()
    #: Described, and not there: for anybody.
    ABSENT = enum.auto()


_SPEC = {
    "Healthz": Rule.PUBLIC,
    "GetCapabilities": Rule.ANY_KEY,
    "IngestEvent": Rule.INGEST,
    "IngestEventBatch": Rule.INGEST_BATCH,
    "QueryEvents": Rule.QUERY,
}
GRPC_RULES = {
    **{f"/chaukas.spec.server.v1.ChaukasServerService/{name}": rule for name, rule in _SPEC.items()},
    **{f"/chaukas.spec.client.v1.ChaukasClientService/{name}": rule for name, rule in _SPEC.items()},
    "/chaukas.spec.server.v1.ChaukasServerService/GetEventStats": Rule.QUERY,
    "/chaukas.gateway.v1.InsightsService/ListHandoffs": Rule.QUERY,
    "/chaukas.gateway.v1.InsightsService/ListMcpCalls": Rule.QUERY,
    "/chaukas.gateway.v1.InsightsService/GetHandoffStats": Rule.QUERY,
    "/chaukas.gateway.v1.InsightsService/GetMcpStats": Rule.QUERY,
    "/grpc.health.v1.Health/Check": Rule.PUBLIC,
    "/grpc.health.v1.Health/List": Rule.ABSENT,
    "/grpc.health.v1.Health/Watch": Rule.PUBLIC,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Rule.PUBLIC,
}
HTTP_RULES = {
    "/events": Rule.INGEST,
    "/events/batch": Rule.INGEST_BATCH,
    "/query": Rule.QUERY,
    "/stats": Rule.QUERY,
    "/capabilities": Rule.ANY_KEY,
    "/healthz": Rule.PUBLIC,
    "/readyz": Rule.PUBLIC,
    "/metrics": Rule.PUBLIC,
    "/openapi.json": Rule.PUBLIC,
}


class Who(enum.Enum):
    """Kinds of callers; all but the last should not get at what is TENANT's and PROJECT's."""

    NOBODY = "no key"
    STRANGER = "a well-formed key nobody made"
    WRONG_SECRET = "the id of a key, another secret"
    MISTYPED = "a key with a typing error"
    EXPIRED = "an expired key"
    REVOKED = "a revoked key"
    OTHER_TENANT = "another tenant's key"
    OTHER_PROJECT = "a key of another project"
    NO_SCOPE = "a key without the scope"
    RIGHT = "the right key"


UNKNOWN = frozenset({Who.NOBODY, Who.STRANGER, Who.WRONG_SECRET, Who.MISTYPED, Who.EXPIRED, Who.REVOKED})
ELSEWHERE = frozenset({Who.OTHER_TENANT, Who.OTHER_PROJECT})


class Callers:
    """One credential of each kind, on a gateway's key file."""

    def __init__(self, keys: KeyFile, read_again: Callable[[Key, Key], object]) -> None:
        """`read_again` waits until the gateway knows the first key, and the second no more."""
        stranger, _ = api_keys.generate(TENANT, None, list(Scope))
        expired, entry = api_keys.generate(TENANT, None, list(Scope), expires_at=time.time() - 1)
        revoked = keys.add()
        last = keys.add(scopes=[Scope.ADMIN])
        right = keys.add()
        self._none = last.text
        self._texts = {
            Who.STRANGER: stranger,
            Who.WRONG_SECRET: _with_secret_of(right.text, stranger),
            Who.MISTYPED: right.text[:-12] + ("a" if right.text[-12] != "a" else "b") + right.text[-11:],
            Who.EXPIRED: expired,
            Who.REVOKED: revoked.text,
            Who.OTHER_TENANT: keys.add(tenant=OTHER_TENANT).text,
            Who.OTHER_PROJECT: keys.add(projects=[OTHER_PROJECT]).text,
            Who.RIGHT: right.text,
        }
        self._lacking = {
            Rule.QUERY: keys.add(scopes=[Scope.INGEST, Scope.ADMIN]).text,
            Rule.INGEST: keys.add(scopes=[Scope.QUERY, Scope.ADMIN]).text,
        }
        keys.stored.append(entry)
        write_keys(keys.path, keys.stored)
        read_again(right, Key(stranger))
        keys.revoke(revoked)
        read_again(right, revoked)

    def authorization(self, who: Who, rule: Rule) -> dict[str, str]:
        """The header or metadata to send; none for nobody."""
        if who is Who.NOBODY:
            return {}
        if who is Who.NO_SCOPE:
            wanted = Rule.INGEST if rule is Rule.INGEST_BATCH else rule
            return {"authorization": f"Bearer {self._lacking.get(wanted, self._none)}"}
        return {"authorization": f"Bearer {self._texts[who]}"}


def _with_secret_of(key: str, other: str) -> str:
    body = f"ck_{key.split('_')[1]}_{other.split('_')[2][:-7]}"
    return body + api_keys._checksum(body)


def served_methods(channel: Any) -> dict[str, MethodDescriptor]:
    """Every method of every service that the server says it serves, by its path."""
    reflection = channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    (answer,) = reflection(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    pool = descriptor_pool.Default()
    found: dict[str, MethodDescriptor] = {}
    for listed in answer.list_services_response.service:
        service = pool.FindServiceByName(listed.name)
        found |= {f"/{service.full_name}/{method.name}": method for method in service.methods}
    return found


@dataclass(frozen=True)
class Answer:
    """What came: ``OK`` or a gRPC code's name (HTTP: as the body names it), and every byte of the answer."""

    code: str
    body: bytes
    headers: dict[str, str]


def grpc_request(method: MethodDescriptor, *, explicit: bool) -> bytes:
    """About TENANT and PROJECT; a query that is not `explicit` names neither."""
    message: Any = message_factory.GetMessageClass(method.input_type)()
    name = method.input_type.name
    if name == "IngestEventRequest":
        message.event.CopyFrom(mark())
    elif name == "IngestEventBatchRequest":
        message.event_batch.events.append(mark())
    elif explicit:
        target = message
        if name == "QueryEventsRequest":
            target = message.query.filter
        elif "filter" in method.input_type.fields_by_name:
            target = message.filter
        if "tenant_id" in target.DESCRIPTOR.fields_by_name:
            target.tenant_id, target.project_id = TENANT, PROJECT
    return bytes(message.SerializeToString())


def call_grpc(channel: Any, path: str, request: bytes, metadata: dict[str, str]) -> Answer:
    """A raw call; for methods that stream answers, up to the first."""
    streams = descriptor_pool.Default().FindMethodByName(path[1:].replace("/", ".")).server_streaming
    make = channel.unary_stream if streams else channel.unary_unary
    try:
        if streams:
            call = make(path)(request, metadata=tuple(metadata.items()), timeout=30)
            body = next(iter(call))
            call.cancel()
            return Answer("OK", body, {})
        body, call = make(path).with_call(request, metadata=tuple(metadata.items()), timeout=30)
        return Answer("OK", body, {})
    except grpc.RpcError as error:
        return Answer(error.code().name, str(error.details()).encode() + repr(error.trailing_metadata()).encode(), {})


def call_http(client: httpx.Client, path: str, rule: Rule, headers: dict[str, str], *, explicit: bool) -> Answer:
    document: Any = {}
    if rule is Rule.INGEST:
        document = event_to_json(mark())
    elif rule is Rule.INGEST_BATCH:
        document = {"events": [event_to_json(mark())]}
    elif explicit:
        scoped = {"tenant_id": TENANT, "project_id": PROJECT}
        document = {"filter": scoped} if path.endswith("/query") else scoped
    if rule in (Rule.PUBLIC, Rule.ANY_KEY):
        answer = client.get(path, headers=headers)
    else:
        answer = client.post(
            path, content=json.dumps(document), headers={**headers, "content-type": "application/json"}
        )
    code = "OK" if answer.status_code < 300 else answer.json()["code"]
    assert (answer.status_code == 401) == (code == "UNAUTHENTICATED")
    assert (answer.status_code == 403) == (code == "PERMISSION_DENIED")
    return Answer(code, answer.content, dict(answer.headers))


def mark() -> Any:
    return event(tenant=TENANT, project=PROJECT, session="matrix")


def query_of(tenant: str = "", project: str = "") -> Any:
    chosen = query_pb2.QueryFilter(tenant_id=tenant, project_id=project)
    return server_pb2.QueryEventsRequest(query=query_pb2.QueryRequest(filter=chosen))


def expected(rule: Rule, who: Who, *, explicit: bool) -> str:
    """The code that must come."""
    if rule in (Rule.PUBLIC, Rule.ABSENT):
        return "OK" if rule is Rule.PUBLIC else "UNIMPLEMENTED"
    if who in UNKNOWN:
        return "UNAUTHENTICATED"
    if who is Who.NO_SCOPE and rule is not Rule.ANY_KEY:
        return "PERMISSION_DENIED"
    if who in ELSEWHERE and (rule is Rule.INGEST or (rule is Rule.QUERY and explicit)):
        return "PERMISSION_DENIED"
    return "OK"  # a batch is answered OK, with its events rejected


def wait_until_read(gateway: RunningGateway) -> Callable[[Key, Key], object]:
    """For :class:`Callers`."""

    def status(key: Key) -> int:
        return gateway.http.get("/v1/capabilities", headers=key.headers).status_code

    return lambda known, gone: wait_for(
        "the key file to be read again", lambda: status(known) == 200 and status(gone) == 401, seconds=20
    )
