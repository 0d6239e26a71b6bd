"""The gRPC door of the sink. Its client is the gateway; an operator's is :class:`sink.store_admin.StoreAdmin` alone.

A call, in order: prove to be the gateway and name the caller → parse → the tenant's turn → scope and rules → read within the
deadline → answer.
Whatever fails becomes one status (errors.py); no exception text or stack trace leaves the process. `grpc.health.v1` needs
no token.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc
from chaukas.spec.server.v1 import server_pb2
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from contracts.errors import GatewayError, InvalidInput
from contracts.headers import TRACEPARENT
from contracts.identity import Identity
from contracts.topics import MIB
from contracts.v1 import insights_pb2
from runtime.grpc_server import grpc_server
from runtime.health import Readiness
from runtime.logs import get_logger
from runtime.settings import InvalidSettings, SinkSettings
from runtime.settings.tls import is_loopback
from runtime.tls import ServerCertificates
from sink.query.engine import Deadline, Engine, Reads
from sink.query.errors import refusal_of
from sink.query.events import EventQueries
from sink.query.handoffs import HandoffQueries
from sink.query.identity import authenticate, authenticate_operator, authenticate_peer, peer_names
from sink.query.mcp_calls import McpQueries
from sink.query.metrics import QueryMetrics
from sink.query.pages import TokenCodec, signing_key
from sink.query.stats import EventStats
from sink.query.turns import TurnRules, Turns
from sink.store_admin import ADMIN_SERVICE, StoreAdmin

if TYPE_CHECKING:
    from runtime.spans import Tracing

SPEC_SERVICE = "chaukas.spec.server.v1.ChaukasServerService"
INSIGHTS_SERVICE = "chaukas.gateway.v1.InsightsService"

#: Calls at once; more are refused with RESOURCE_EXHAUSTED before they are read.
_MAX_CALLS = 256
#: Longest time of an operator's call, seconds: a retention run deletes from a whole store.
_ADMIN_SECONDS = 3_600.0
_OPTIONS = (
    ("grpc.max_receive_message_length", 1 * MIB),
    # A single event may be larger than an answer's usual limit.
    ("grpc.max_send_message_length", 16 * MIB),
    # A taken port is an error at start, not two servers that share callers at random.
    ("grpc.so_reuseport", 0),
)

#: Whoever gets these is not known: no span of theirs.
_STRANGERS = frozenset(("UNAUTHENTICATED", "PERMISSION_DENIED"))
#: Codes that make a server's span an error, by OpenTelemetry's conventions.
_OUR_FAULT = frozenset(("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"))

log = get_logger(__name__)

#: Identity; None: an operator.
Caller = TypeVar("Caller", Identity, None)
#: (caller, request, deadline) → the serialized answer.
Answer = Callable[[Caller, Any, Deadline], Awaitable[bytes]]


class QueryServer:
    """A running server."""

    def __init__(self, server: Any, probe: Any, port: int, readiness: Readiness) -> None:
        self._server = server
        self._probe = probe
        self._readiness = readiness
        #: The port it listens on.
        self.port = port

    async def stop(self, grace: float) -> None:
        """Refuse new calls at once, let running ones end within `grace` seconds, then cancel them."""
        self._readiness.set("query", "stopping")
        await self._probe.enter_graceful_shutdown()
        await self._server.stop(grace)


async def serve(
    store: Reads,
    settings: SinkSettings,
    readiness: Readiness,
    registry: CollectorRegistry,
    admin: StoreAdmin | None = None,
    tracing: Tracing | None = None,
) -> QueryServer:
    """Start to answer on ``SINK_GRPC_HOST:SINK_GRPC_PORT`` (port 0: a free one), on the running loop.

    Raises InvalidSettings (strangers could ask or read along, a certificate cannot be used) or OSError (the port is taken).
    """
    if exposed := check_exposure(settings):
        log.warning("listens without TLS", settings=exposed, risk="tokens and answers can be read on the way")
    certificates = ServerCertificates.of(settings)
    token, admin_token = settings.token.get_secret_value(), settings.admin_token.get_secret_value()
    names = peer_names(settings.tls_client_names)
    metrics = QueryMetrics(registry)

    def gateways_caller(context: Any) -> Identity:
        if names:
            authenticate_peer(context.auth_context(), names)
        return authenticate(context.invocation_metadata() or (), token)

    calls = _Calls(gateways_caller, settings.query_timeout_seconds, metrics, Turns(turn_rules(settings)), tracing)
    engine = Engine(store, settings)
    codec = TokenCodec(signing_key(settings.page_token_key.get_secret_value(), token))
    handoffs, mcp = HandoffQueries(engine, codec), McpQueries(engine, codec)

    server = grpc_server(_OPTIONS, _MAX_CALLS)
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                SPEC_SERVICE,
                {
                    "QueryEvents": calls.handler(
                        "QueryEvents", server_pb2.QueryEventsRequest, EventQueries(engine, codec).query_events
                    ),
                    "GetEventStats": calls.handler(
                        "GetEventStats", server_pb2.GetEventStatsRequest, EventStats(engine).get_event_stats
                    ),
                },
            ),
            grpc.method_handlers_generic_handler(
                INSIGHTS_SERVICE,
                {
                    "ListHandoffs": calls.handler(
                        "ListHandoffs", insights_pb2.ListHandoffsRequest, handoffs.list_handoffs
                    ),
                    "ListMcpCalls": calls.handler("ListMcpCalls", insights_pb2.ListMcpCallsRequest, mcp.list_mcp_calls),
                    "GetHandoffStats": calls.handler(
                        "GetHandoffStats", insights_pb2.GetHandoffStatsRequest, handoffs.get_handoff_stats
                    ),
                    "GetMcpStats": calls.handler("GetMcpStats", insights_pb2.GetMcpStatsRequest, mcp.get_mcp_stats),
                },
            ),
        )
    )
    if admin is not None:
        operators = _Calls(
            lambda context: authenticate_operator(context.invocation_metadata() or (), admin_token),
            _ADMIN_SECONDS,
            metrics,
        )
        methods = {name: operators.handler(name, *how) for name, how in admin.methods().items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(ADMIN_SERVICE, methods),))
    probe = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs lack it
    health_pb2_grpc.add_HealthServicer_to_server(probe, server)
    address = f"{f'[{settings.grpc_host}]' if ':' in settings.grpc_host else settings.grpc_host}:{settings.grpc_port}"
    try:
        if certificates is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, certificates.grpc_credentials())
    except RuntimeError:
        port = 0
    if not port:
        raise OSError(f"cannot listen on {address} (SINK_GRPC_HOST, SINK_GRPC_PORT): in use, or not an own address")
    await server.start()
    for service in ("", SPEC_SERVICE, INSIGHTS_SERVICE):
        await probe.set(service, health_pb2.HealthCheckResponse.SERVING)
    readiness.set("query")
    log.info("query server listens", host=settings.grpc_host, port=port)
    return QueryServer(server, probe, port, readiness)


class _Calls(Generic[Caller]):
    """What every method has in common: credentials, deadline, errors, metrics."""

    def __init__(
        self,
        authenticate: Callable[[Any], Caller],
        timeout_seconds: float,
        metrics: QueryMetrics,
        turns: Turns | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._tracing = tracing
        #: From the call's context.
        self._authenticate: Callable[[Any], Caller] = authenticate
        self._timeout_seconds = timeout_seconds
        self._metrics = metrics
        self._turns = turns

    def handler(self, method: str, request_class: Any, answer: Answer[Caller]) -> Any:
        """A method handler that reads and writes bytes: a request that does not parse is told like any other mistake."""

        async def call(data: bytes, context: Any) -> bytes:
            started, started_ns = time.monotonic(), time.time_ns()
            self._metrics.running.inc()
            code, refusal, result = grpc.StatusCode.CANCELLED.name, None, b""
            try:
                try:
                    result = await self._answer(data, context, request_class, answer)
                except GatewayError as error:
                    refusal = refusal_of(error)
                except Exception as error:
                    log.exception("query crashed", method=method)
                    refusal = refusal_of(error)
                code = (refusal.code if refusal is not None else grpc.StatusCode.OK).name
            finally:  # before the caller hears of it
                self._metrics.running.dec()
                self._metrics.queries.labels(method, code).inc()
                self._metrics.seconds.labels(method).observe(time.monotonic() - started)
                if self._tracing is not None and code not in _STRANGERS:
                    self._trace(self._tracing, method, context, started_ns, code)
            if refusal is not None:
                await context.abort(refusal.code, refusal.message, refusal.trailers())
            self._metrics.answer_bytes.labels(method).observe(len(result))
            return result

        return grpc.unary_unary_rpc_method_handler(call)

    def _trace(self, tracing: Tracing, method: str, context: Any, started_ns: int, code: str) -> None:
        sent = next((value for key, value in context.invocation_metadata() or () if key == TRACEPARENT), None)
        attributes = {"rpc.system.name": "grpc", "rpc.method": method, "rpc.response.status_code": code}
        tracing.answered(method, sent, started_ns, attributes, failed=code in _OUR_FAULT)

    async def _answer(self, data: bytes, context: Any, request_class: Any, answer: Answer[Caller]) -> bytes:
        caller = self._authenticate(context)
        try:
            request = request_class.FromString(data)
        except DecodeError:
            raise InvalidInput.of("request", f"is no {request_class.DESCRIPTOR.full_name}") from None
        left = context.time_remaining()
        deadline = Deadline.after(self._timeout_seconds if left is None else min(left, self._timeout_seconds))
        if self._turns is None or caller is None:
            return await answer(caller, request, deadline)
        async with self._turns.turn(caller.tenant_id, deadline):
            return await answer(caller, request, deadline)


def turn_rules(settings: SinkSettings) -> TurnRules:
    clients = settings.query_clients
    return TurnRules(
        clients,
        min(settings.query_tenant_clients or max(1, clients - 1), clients),
        settings.query_tenant_waiting,
        settings.query_tenant_seconds_per_minute,
    )


def check_exposure(settings: SinkSettings) -> list[str]:
    """Raises InvalidSettings when strangers could ask, or read along; the settings by which the latter was allowed."""
    token = settings.token.get_secret_value()
    if not token and settings.tls_client_ca_file is None and not is_loopback(settings.grpc_host):
        raise InvalidSettings(
            f"SINK_TOKEN is not set, and SINK_GRPC_HOST={settings.grpc_host!r} is not a loopback address: anyone who "
            "reaches it could read every tenant. Set SINK_TOKEN (and GATEWAY_SINK_TOKEN to the same value), or "
            "SINK_TLS_CLIENT_CA_FILE."
        )
    if token and settings.admin_token.get_secret_value() == token:
        raise InvalidSettings("SINK_ADMIN_TOKEN must not be SINK_TOKEN: every gateway has that one.")
    if settings.tls_client_names and settings.tls_client_ca_file is None:
        raise InvalidSettings("SINK_TLS_CLIENT_NAMES needs SINK_TLS_CLIENT_CA_FILE: without it no client shows a name.")
    return settings.open_to_others(grpc_host=settings.grpc_host)
