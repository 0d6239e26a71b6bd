"""The gRPC door: who may ask, and what a failure looks like from outside."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2, server_pb2_grpc
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import insecure_channel
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from contracts.identity import IDENTITY_METADATA, INTERNAL_TOKEN_METADATA, Identity, Scope
from contracts.v1 import insights_pb2, insights_pb2_grpc
from runtime.health import Readiness
from runtime.settings import InvalidSettings, SinkSettings, load
from sink.query.builder import Statement
from sink.query.engine import Deadline, Engine, Reads
from sink.query.errors import QueryTimedOut, QueryTooCostly
from sink.query.server import INSIGHTS_SERVICE, SPEC_SERVICE, QueryServer, serve
from sink.store import Store
from tests.support.events import START_NS, event
from tests.support.stored import Copy, insert_copies

T = TypeVar("T")

ALL = Identity("t", None, frozenset({Scope.QUERY}))
SOME = Identity("t", frozenset({"p"}), frozenset({Scope.QUERY}))


def metadata(caller: Identity | None, token: str | None = "between-us") -> tuple[tuple[str, Any], ...]:
    made: list[tuple[str, Any]] = []
    if token is not None:
        made.append((INTERNAL_TOKEN_METADATA, token))
    if caller is not None:
        made.append((IDENTITY_METADATA, caller.to_metadata()))
    return tuple(made)


class Failing:
    """A store whose reads all end the same way."""

    def __init__(self, end: Callable[[], Exception] | None) -> None:
        self.end = end

    async def stop(self, tag: str, ended: threading.Event) -> None:
        assert self.end is None, "nothing runs that could be stopped"

    async def read(self, job: Callable[[Client], T]) -> T:
        if self.end is None:
            await asyncio.Event().wait()
        assert self.end is not None
        raise self.end()


class Door:
    """A running server and stubs for it."""

    def __init__(self, server: QueryServer, channel: Any, registry: CollectorRegistry, readiness: Readiness) -> None:
        self.server, self.channel, self.registry, self.readiness = server, channel, registry, readiness
        self.spec = server_pb2_grpc.ChaukasServerServiceStub(channel)
        self.insights = insights_pb2_grpc.InsightsServiceStub(channel)  # type: ignore[no-untyped-call]
        self.health = health_pb2_grpc.HealthStub(channel)

    def count(self, method: str, code: str) -> float:
        return self.registry.get_sample_value("sink_queries_total", {"method": method, "code": code}) or 0.0


@asynccontextmanager
async def door(store: Reads, settings: SinkSettings) -> AsyncIterator[Door]:
    registry, readiness = CollectorRegistry(), Readiness()
    server = await serve(store, settings, readiness, registry)
    try:
        async with insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield Door(server, channel, registry, readiness)
    finally:
        await server.stop(0)


async def refused(call: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return caught.value


def details(error: Any, kind: Any) -> Any:
    found = dict(error.trailing_metadata())
    message = kind()
    assert any(
        detail.Unpack(message) for detail in status_pb2.Status.FromString(found["grpc-status-details-bin"]).details
    )
    return message


def fill(store: Store) -> None:
    insert_copies(
        store,
        [
            Copy(event(event_id=f"{tenant}{project}{number}", tenant=tenant, project=project, at_ns=START_NS + number))
            for tenant in "tu"
            for project in "pq"
            for number in range(2)
        ],
    )


async def test_every_method_answers(store: Store, settings: SinkSettings) -> None:
    fill(store)
    async with door(store, settings) as opened:
        asked = {"metadata": metadata(ALL), "timeout": 20}
        found = await opened.spec.QueryEvents(server_pb2.QueryEventsRequest(), **asked)
        assert len(found.response.events) == 4
        stats = await opened.spec.GetEventStats(server_pb2.GetEventStatsRequest(), **asked)
        assert (stats.total_events, stats.total_sessions) == (4, 2)
        for method, request in (
            ("ListHandoffs", insights_pb2.ListHandoffsRequest()),
            ("ListMcpCalls", insights_pb2.ListMcpCallsRequest()),
            ("GetHandoffStats", insights_pb2.GetHandoffStatsRequest()),
            ("GetMcpStats", insights_pb2.GetMcpStatsRequest()),
        ):
            answer = await getattr(opened.insights, method)(request, **asked)
            assert answer.ByteSize() == 0
        for method in (
            "QueryEvents",
            "GetEventStats",
            "ListHandoffs",
            "ListMcpCalls",
            "GetHandoffStats",
            "GetMcpStats",
        ):
            assert opened.count(method, "OK") == 1


async def test_what_the_sink_does_not_do_is_unimplemented(store: Store, settings: SinkSettings) -> None:
    async with door(store, settings) as opened:
        call = opened.spec.IngestEvent(server_pb2.IngestEventRequest(event=pb.Event()), metadata=metadata(ALL))
        assert (await refused(call)).code() is grpc.StatusCode.UNIMPLEMENTED


IDENTITIES = [
    # caller, token, tenant asked for, project asked for, what comes
    (ALL, "between-us", "", "", {"tp", "tq"}),
    (ALL, "between-us", "t", "q", {"tq"}),
    (ALL, "between-us", "u", "", grpc.StatusCode.PERMISSION_DENIED),
    (SOME, "between-us", "", "", {"tp"}),
    (SOME, "between-us", "t", "p", {"tp"}),
    (SOME, "between-us", "", "q", grpc.StatusCode.PERMISSION_DENIED),
    (SOME, "between-us", "u", "p", grpc.StatusCode.PERMISSION_DENIED),
    (Identity("t", frozenset(), frozenset()), "between-us", "", "", set()),
    (None, "between-us", "", "", grpc.StatusCode.UNAUTHENTICATED),
    (Identity("", None, frozenset()), "between-us", "", "", grpc.StatusCode.UNAUTHENTICATED),
    (ALL, "guess", "", "", grpc.StatusCode.UNAUTHENTICATED),
    (ALL, "", "", "", grpc.StatusCode.UNAUTHENTICATED),
    (ALL, None, "", "", grpc.StatusCode.UNAUTHENTICATED),
]


async def test_identity_matrix(store: Store, settings: SinkSettings) -> None:
    """Every method, every kind of caller: the same rules."""
    fill(store)
    async with door(store, settings) as opened:
        for caller, token, tenant, project, expected in IDENTITIES:
            query = server_pb2.QueryEventsRequest()
            query.query.filter.tenant_id, query.query.filter.project_id = tenant, project
            listed = {"filter": query.query.filter}
            counted = {"tenant_id": tenant, "project_id": project}
            calls = [
                opened.spec.QueryEvents(query, metadata=metadata(caller, token)),
                opened.spec.GetEventStats(server_pb2.GetEventStatsRequest(**counted), metadata=metadata(caller, token)),
                opened.insights.ListHandoffs(
                    insights_pb2.ListHandoffsRequest(**listed), metadata=metadata(caller, token)
                ),
                opened.insights.ListMcpCalls(
                    insights_pb2.ListMcpCallsRequest(**listed), metadata=metadata(caller, token)
                ),
                opened.insights.GetHandoffStats(
                    insights_pb2.GetHandoffStatsRequest(**counted), metadata=metadata(caller, token)
                ),
                opened.insights.GetMcpStats(
                    insights_pb2.GetMcpStatsRequest(**counted), metadata=metadata(caller, token)
                ),
            ]
            if isinstance(expected, set):
                events, stats, *_ = await asyncio.gather(*calls)
                assert {f"{found.tenant_id}{found.project_id}" for found in events.response.events} == expected
                assert stats.total_events == 2 * len(expected)
            else:
                for call in calls:
                    assert (await refused(call)).code() is expected, (caller, token, tenant, project)


async def test_mistakes_name_their_field(store: Store, settings: SinkSettings) -> None:
    async with door(store, settings) as opened:
        bad = server_pb2.QueryEventsRequest()
        bad.query.page_size = -1
        error = await refused(opened.spec.QueryEvents(bad, metadata=metadata(ALL)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        (violation,) = details(error, error_details_pb2.BadRequest).field_violations
        assert violation.field == "query.page_size"

        bad = server_pb2.QueryEventsRequest()
        bad.query.page_token = "forged"
        error = await refused(opened.spec.QueryEvents(bad, metadata=metadata(ALL)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "page_token" in error.details()

        bad = server_pb2.QueryEventsRequest()
        bad.query.filter.time.end.nanos = -1
        error = await refused(opened.spec.QueryEvents(bad, metadata=metadata(ALL)))
        (violation,) = details(error, error_details_pb2.BadRequest).field_violations
        assert violation.field == "query.filter.time.end"

        raw = opened.channel.unary_unary(f"/{SPEC_SERVICE}/QueryEvents")
        error = await refused(raw(b"\x0a\xff\xff", metadata=metadata(ALL)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert opened.count("QueryEvents", "INVALID_ARGUMENT") == 4


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda: DatabaseError("Code: 158. secret", code=158), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (lambda: DatabaseError("Code: 159. secret", code=159), grpc.StatusCode.DEADLINE_EXCEEDED),
        (lambda: DatabaseError("Code: 62. secret", code=62), grpc.StatusCode.INTERNAL),
        (lambda: OperationalError("secret host refused"), grpc.StatusCode.UNAVAILABLE),
        (lambda: ConnectionResetError("secret"), grpc.StatusCode.UNAVAILABLE),
        (lambda: ValueError("secret"), grpc.StatusCode.INTERNAL),
        (None, grpc.StatusCode.DEADLINE_EXCEEDED),
    ],
)
async def test_store_failures(end: Callable[[], Exception] | None, code: grpc.StatusCode) -> None:
    settings = load(SinkSettings, grpc_port=0, token="between-us", query_timeout_seconds=0.3)
    async with door(Failing(end), settings) as opened:
        call = opened.spec.QueryEvents(server_pb2.QueryEventsRequest(), metadata=metadata(ALL))
        error = await refused(call)
        assert error.code() is code
        assert "secret" not in error.details()
        assert "Traceback" not in error.details()
        if code is grpc.StatusCode.UNAVAILABLE:
            assert details(error, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() > 0
        assert opened.count("QueryEvents", code.name) == 1


async def test_a_callers_deadline_is_kept() -> None:
    settings = load(SinkSettings, grpc_port=0, token="between-us", query_timeout_seconds=600)
    async with door(Failing(None), settings) as opened:
        started = time.monotonic()
        call = opened.spec.QueryEvents(server_pb2.QueryEventsRequest(), metadata=metadata(ALL), timeout=0.3)
        assert (await refused(call)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - started < 10


async def test_the_engine_stops_a_query_at_its_deadline(store: Store, settings: SinkSettings) -> None:
    engine = Engine(store, settings)
    endless = Statement(
        "SELECT sum(sipHash64(repeat(toString(number), 100))) FROM numbers({n:UInt64})", {"n": 900_000_000}
    )
    started = time.monotonic()
    await asyncio.gather(*(_times_out(engine, endless) for _ in range(4)))  # more than there are readers
    assert time.monotonic() - started < 20
    ((one,),) = await engine.rows(Statement("SELECT 1", {}), Deadline.after(10))
    assert one == 1, "the readers are free again"


async def _times_out(engine: Engine, statement: Statement) -> None:
    with pytest.raises(QueryTimedOut):
        await engine.rows(statement, Deadline.after(0.4))


class Undisturbed:
    """A store that cannot stop queries from outside."""

    def __init__(self, store: Store) -> None:
        self.read = store.read

    async def stop(self, tag: str, ended: threading.Event) -> None:
        """Do nothing."""


async def test_the_engine_itself_knows_the_deadline(store: Store, settings: SinkSettings) -> None:
    """Nobody may be left who could stop a query: a query server that was killed, a connection that broke."""
    slow = Statement("SELECT sum(sleepEachRow(0.1)) FROM numbers(300) SETTINGS max_block_size = 1", {})
    with pytest.raises(QueryTimedOut):
        await Engine(Undisturbed(store), settings).rows(slow, Deadline.after(0.5))
    count = "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow%' AND query NOT LIKE '%processes%'"
    ends = time.monotonic() + 10
    while (await asyncio.to_thread(store.settler.query, count)).result_rows != [(0,)]:
        assert time.monotonic() < ends
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("limits", "sql"),
    [
        ({"query_max_rows": 1000}, "SELECT count(), sum(length(raw)) FROM events FINAL"),
        ({"query_max_bytes": 1024**2}, "SELECT max(number) FROM numbers(1000000)"),
        ({"query_max_memory_bytes": 16 * 1024**2}, "SELECT length(groupArray(number)) FROM numbers(20000000)"),
    ],
)
async def test_a_query_has_a_price_limit(store: Store, limits: dict[str, Any], sql: str) -> None:
    insert_copies(store, [Copy(event(event_id=f"{number}"), 0, number) for number in range(3000)])
    engine = Engine(store, load(SinkSettings, **limits))
    with pytest.raises(QueryTooCostly, match="narrow"):
        await engine.rows(Statement(sql, {}), Deadline.after(10))
    unlimited = Engine(store, load(SinkSettings))
    assert await unlimited.rows(Statement(sql, {}), Deadline.after(30)), "it is the limit that refuses"


async def test_health_needs_no_key_and_ends_with_the_server(store: Store, settings: SinkSettings) -> None:
    serving = health_pb2.HealthCheckResponse.SERVING
    async with door(store, settings) as opened:
        assert opened.readiness.ready
        for service in ("", SPEC_SERVICE, INSIGHTS_SERVICE):
            answer = await opened.health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == serving
        await opened.server.stop(0)
        assert not opened.readiness.ready


async def test_a_taken_port_is_an_error(store: Store, settings: SinkSettings) -> None:
    async with door(store, settings) as opened:
        same = settings.model_copy(update={"grpc_port": opened.server.port})
        with pytest.raises(OSError, match=str(opened.server.port)):
            await serve(store, same, Readiness(), CollectorRegistry())


async def test_an_open_address_needs_a_token(store: Store) -> None:
    with pytest.raises(InvalidSettings, match="SINK_TOKEN"):
        await serve(
            store, load(SinkSettings, grpc_port=0, grpc_host="0.0.0.0", token=""), Readiness(), CollectorRegistry()
        )


async def test_without_a_token_on_loopback_the_identity_suffices(store: Store) -> None:
    async with door(store, load(SinkSettings, grpc_port=0, token="")) as opened:
        stats = await opened.spec.GetEventStats(server_pb2.GetEventStatsRequest(), metadata=metadata(ALL, None))
        assert stats.total_events == 0
