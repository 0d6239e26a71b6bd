"""Every door × every kind of caller × every operation: who is let in, and that no answer holds what is another's.

What is enumerated comes from the running gateway (reflection, its tables) and from the descriptors; see :mod:`operations`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2
from prometheus_client import CollectorRegistry

from contracts.identity import ADMIN_TOKEN_METADATA, IDENTITY_METADATA, INTERNAL_TOKEN_METADATA, Identity, Scope
from contracts.v1.facts_pb2 import HandoffFact, McpCallFact
from gateway.http_app import PUBLIC_PATHS
from gateway.openapi import openapi_document
from runtime.health import Readiness
from runtime.settings import KafkaSettings, SinkSettings, load
from sink.query.server import serve
from sink.store import Store
from sink.store_admin import StoreAdmin
from tests.integration.gateway.harness import PROJECT, TENANT, TOKEN, LoopThread, RawTopic, RunningGateway
from tests.integration.gateway.operations import (
    ELSEWHERE,
    FILES,
    GRPC_RULES,
    HTTP_RULES,
    OTHER_PROJECT,
    OTHER_TENANT,
    Callers,
    Rule,
    Who,
    call_grpc,
    call_http,
    expected,
    grpc_request,
    served_methods,
    wait_until_read,
)
from tests.support.events import START_NS, event
from tests.support.stored import Copy, insert_copies, insert_handoffs, insert_mcp_calls, open_store

ADMIN_TOKEN = "operators-only"
#: What each tenant's and project's rows hold and nobody else's: a text, and a type of event for statistics.
MARKS = {
    (TENANT, PROJECT): (b"mark-acme-shop", pb.EVENT_TYPE_AGENT_START),
    (TENANT, OTHER_PROJECT): (b"mark-acme-vault", pb.EVENT_TYPE_TOOL_CALL_START),
    (OTHER_TENANT, PROJECT): (b"mark-umbrella-shop", pb.EVENT_TYPE_POLICY_DECISION),
    (OTHER_TENANT, OTHER_PROJECT): (b"mark-umbrella-vault", pb.EVENT_TYPE_ERROR),
}
SEES = {
    Who.RIGHT: {(TENANT, PROJECT), (TENANT, OTHER_PROJECT)},
    Who.OTHER_PROJECT: {(TENANT, OTHER_PROJECT)},
    Who.OTHER_TENANT: {(OTHER_TENANT, PROJECT), (OTHER_TENANT, OTHER_PROJECT)},
}


class RunningSink:
    """The sink's real door on a real store that holds rows of both tenants."""

    def __init__(self, store: Store) -> None:
        for number, ((tenant, project), (text, kind)) in enumerate(MARKS.items()):
            mark = text.decode()
            ids: dict[str, Any] = {"tenant_id": tenant, "project_id": project, "session_id": mark}
            made = event(kind, tenant=tenant, project=project, session=mark, agent_name=mark, at_ns=START_NS + number)
            insert_copies(store, [Copy(made, 0, number)])
            handoff = HandoffFact(handoff_id=mark, from_agent_id=mark, to_agent_id="b", revision=1, **ids)
            handoff.handed_off_at.FromNanoseconds(START_NS)
            handoff.source.topic = "raw"
            call = McpCallFact(call_id=mark, server_name=mark, operation="o", revision=1, **ids)
            call.started_at.FromNanoseconds(START_NS)
            call.start_source.topic = "raw"
            insert_handoffs(store, [handoff])
            insert_mcp_calls(store, [call])
        self._thread = LoopThread()
        settings = load(SinkSettings, grpc_port=0, token=TOKEN, admin_token=ADMIN_TOKEN)
        admin = StoreAdmin(store, "", 0)
        self._server = self._thread.run(serve(store, settings, Readiness(), CollectorRegistry(), admin))
        self.target = f"127.0.0.1:{self._server.port}"

    def stop(self) -> None:
        self._thread.run(self._server.stop(0))
        self._thread.stop()


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSink]:
    store = open_store(tmp_path_factory.mktemp("store"))
    running = RunningSink(store)
    yield running
    running.stop()
    store.close()


@pytest.fixture(scope="module")
def guarded(
    gateway_topics: KafkaSettings, sink: RunningSink, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    running = RunningGateway(gateway_topics, tmp_path_factory.mktemp("keys"), sink_target=sink.target)
    running.wait_ready()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def callers(guarded: RunningGateway) -> Callers:
    return Callers(guarded.keys, wait_until_read(guarded))


def test_every_grpc_method_has_a_rule(guarded: RunningGateway) -> None:
    assert served_methods(guarded.channel).keys() == GRPC_RULES.keys()
    own = {f"/{name}/{each}" for name, methods in guarded.gateway.grpc_door.services().items() for each in methods}
    assert own <= GRPC_RULES.keys(), "served, and not told by reflection"


def test_every_http_route_has_a_rule_and_is_documented(guarded: RunningGateway) -> None:
    served = {*guarded.gateway.http_door.routes, *PUBLIC_PATHS}
    assert served == HTTP_RULES.keys()
    documented = {path.removeprefix("/v1") for path in openapi_document()["paths"]}
    assert documented <= served
    assert guarded.gateway.http_door.routes.keys() <= documented


def leaks(body: bytes, who: Who) -> list[Any]:
    """Whose rows the answer tells of, beside those that `who` may see."""
    allowed = SEES.get(who, set())
    found = []
    for place, (text, kind) in MARKS.items():
        type_name = pb.EventType.Name(kind).encode()
        if place not in allowed and (text in body or type_name in body):
            found.append(place)
    return found


@pytest.mark.parametrize("explicit", [True, False], ids=["names the tenant", "names nothing"])
@pytest.mark.parametrize("who", Who)
def test_grpc(guarded: RunningGateway, callers: Callers, raw: RawTopic, who: Who, explicit: bool) -> None:
    methods = served_methods(guarded.channel)
    accepted = 0
    for path, rule in GRPC_RULES.items():
        request = grpc_request(methods[path], explicit=explicit)
        answer = call_grpc(guarded.channel, path, request, callers.authorization(who, rule))
        assert answer.code == expected(rule, who, explicit=explicit), (path, answer)
        if rule is not Rule.PUBLIC:  # reflection speaks of types in general
            assert not leaks(answer.body, who), path
        if rule is Rule.QUERY and answer.code == "OK":
            _finds_its_own(path, answer.body, who, explicit)
        if rule is Rule.INGEST_BATCH and who in ELSEWHERE and answer.body:
            rejected = server_pb2.IngestEventBatchResponse.FromString(answer.body)
            assert (rejected.accepted_count, rejected.rejected_count) == (0, 1)
        accepted += rule in (Rule.INGEST, Rule.INGEST_BATCH) and who is Who.RIGHT
    assert len(raw.read(accepted) if accepted else raw.read_available()) == accepted


@pytest.mark.parametrize("explicit", [True, False], ids=["names the tenant", "names nothing"])
@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("who", Who)
def test_http(guarded: RunningGateway, callers: Callers, raw: RawTopic, who: Who, prefix: str, explicit: bool) -> None:
    accepted = 0
    guarded.http.headers.pop("authorization", None)
    for path, rule in HTTP_RULES.items():
        headers = callers.authorization(who, rule)
        answer = call_http(guarded.http, prefix + path, rule, headers, explicit=explicit)
        assert answer.code == expected(rule, who, explicit=explicit), (path, answer)
        if answer.code == "UNAUTHENTICATED":
            assert answer.headers["www-authenticate"] == "Bearer"
        if rule is not Rule.PUBLIC:
            assert not leaks(answer.body, who), path
        if rule is Rule.QUERY and answer.code == "OK":
            _finds_its_own(path, answer.body, who, explicit)
        accepted += rule in (Rule.INGEST, Rule.INGEST_BATCH) and who is Who.RIGHT
    assert len(raw.read(accepted) if accepted else raw.read_available()) == accepted


def _finds_its_own(path: str, body: bytes, who: Who, explicit: bool) -> None:
    """The matrix would show no leak of a store that shows nothing."""
    if who is Who.NO_SCOPE:
        return
    wanted = {(TENANT, PROJECT)} if explicit else SEES[who]
    for place in wanted:
        text, kind = MARKS[place]
        type_name = pb.EventType.Name(kind).encode()
        assert text in body or type_name in body, (path, place)


@pytest.mark.parametrize("who", Who)
def test_what_is_not_there_is_not_there_for_anybody(guarded: RunningGateway, callers: Callers, who: Who) -> None:
    headers = callers.authorization(who, Rule.ANY_KEY)
    assert guarded.http.get("/v1/dead_letters", headers=headers).status_code == 404
    for path in ("/chaukas.gateway.v1.StoreAdminService/GetRetention", "/x.Y/Z"):
        with pytest.raises(grpc.RpcError) as caught:
            guarded.channel.unary_unary(path)(b"", metadata=tuple(headers.items()))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# The sink's door ------------------------------------------------------------------------------------------------------

GATEWAY, OPERATOR, NOT_SERVED, PUBLIC = "gateway", "operator", "not served", "public"
SINK_RULES = {
    **{path: GATEWAY for path, rule in GRPC_RULES.items() if rule is Rule.QUERY and ".client." not in path},
    **{
        f"/chaukas.gateway.v1.StoreAdminService/{name}": OPERATOR
        for name in (
            "GetRetention",
            "SetRetention",
            "RunRetention",
            "ListHolds",
            "AddHold",
            "RemoveHold",
            "Erase",
        )
    },
    **{path: PUBLIC for path, rule in GRPC_RULES.items() if rule is Rule.PUBLIC and "grpc.health" in path},
}

CALLER = Identity(OTHER_TENANT, None, frozenset({Scope.QUERY})).to_metadata()
SINK_CALLERS: dict[str, tuple[tuple[str, Any], ...]] = {
    "nobody": (),
    "a claim alone": ((IDENTITY_METADATA, CALLER),),
    "an empty token": ((IDENTITY_METADATA, CALLER), (INTERNAL_TOKEN_METADATA, "")),
    "a wrong token": ((IDENTITY_METADATA, CALLER), (INTERNAL_TOKEN_METADATA, f"{TOKEN}x"), (ADMIN_TOKEN_METADATA, "x")),
    "an API key": (("authorization", "Bearer ck_x"), (IDENTITY_METADATA, CALLER)),
    "tokens in each other's place": (
        (IDENTITY_METADATA, CALLER), (INTERNAL_TOKEN_METADATA, ADMIN_TOKEN), (ADMIN_TOKEN_METADATA, TOKEN),
    ),
    "the token without a caller": ((INTERNAL_TOKEN_METADATA, TOKEN),),
    "the token and a caller of no tenant": ((INTERNAL_TOKEN_METADATA, TOKEN), (IDENTITY_METADATA, b"")),
}  # fmt: skip


def sink_methods() -> dict[str, Any]:
    """Every method of every service that our files describe."""
    return {
        f"/{service.full_name}/{method.name}": method
        for file in FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


@pytest.mark.parametrize("who", SINK_CALLERS)
def test_the_sink_trusts_nobody_but_the_gateway_and_the_operator(sink: RunningSink, who: str) -> None:
    with grpc.insecure_channel(sink.target) as channel:
        for path, method in sink_methods().items():
            rule = SINK_RULES.get(path, NOT_SERVED)
            answer = call_grpc(channel, path, b"", dict(SINK_CALLERS[who]))
            wanted = {GATEWAY: "UNAUTHENTICATED", OPERATOR: "UNAUTHENTICATED", NOT_SERVED: "UNIMPLEMENTED"}
            assert answer.code == wanted.get(rule, "OK"), (path, method.full_name)
            if rule != PUBLIC:
                assert not leaks(answer.body, Who.NOBODY)


def test_the_sink_serves_what_has_a_rule(sink: RunningSink) -> None:
    assert SINK_RULES.keys() <= sink_methods().keys()
    shown: dict[str, tuple[tuple[str, Any], ...]] = {
        GATEWAY: ((INTERNAL_TOKEN_METADATA, TOKEN), (IDENTITY_METADATA, CALLER)),
        OPERATOR: ((ADMIN_TOKEN_METADATA, ADMIN_TOKEN),),
        PUBLIC: (),
    }
    with grpc.insecure_channel(sink.target) as channel:
        for path, rule in SINK_RULES.items():
            answer = call_grpc(channel, path, b"", dict(shown[rule]))
            assert answer.code in ("OK", "INVALID_ARGUMENT"), (path, answer)
            if rule == GATEWAY:
                assert not leaks(answer.body, Who.OTHER_TENANT)
