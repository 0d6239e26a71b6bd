"""The gRPC door: names, metadata, deadlines. What happens to events and queries is elsewhere.

The order for every call is: not stopping, key, room, message (:mod:`gateway.grpc_read`), key again, work. Who may call what is
in one table (:meth:`GrpcDoor.services`) and enforced in one place (:meth:`GrpcDoor._answered`).
Handlers take and give raw bytes, so that an event's own bytes can be cut out of the request. The spec's server and client
services are served alike; they share requests on the wire, and the client's ingest answers are empty messages.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import grpc
import grpc.aio
from chaukas.spec.client.v1 import client_pb2
from chaukas.spec.server.v1 import server_pb2
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from contracts.errors import GatewayError, InvalidInput
from contracts.identity import Identity, Scope
from contracts.traceparent import well_formed_traceparent
from contracts.v1 import insights_pb2
from contracts.wire import TooManyEvents
from gateway.access import Access
from gateway.admission import Admission, Lease
from gateway.auth import Authenticator
from gateway.call import Call
from gateway.capabilities import CAPABILITIES
from gateway.draining import Draining
from gateway.grpc_errors import OUR_FAULT, grpc_code, internal_error, rejections_trailer, status_of
from gateway.grpc_options import server_options
from gateway.grpc_read import MessageReader, metadata_of
from gateway.ingest import Accepted, BatchOutcome, Ingest
from gateway.metrics import GatewayMetrics
from gateway.query_client import METHODS, QueryClient
from gateway.quotas import UNLIMITED, Charge, Quotas
from runtime.grpc_server import grpc_server
from runtime.logs import get_logger
from runtime.settings import GatewaySettings
from runtime.tls import ServerCertificates

if TYPE_CHECKING:
    from runtime.spans import CallSpan, Tracing

DOOR = "grpc"
SERVER_SERVICE = "chaukas.spec.server.v1.ChaukasServerService"
CLIENT_SERVICE = "chaukas.spec.client.v1.ChaukasClientService"
INSIGHTS_SERVICE = "chaukas.gateway.v1.InsightsService"
#: Health-check name that follows /readyz; "" says that the process serves.
READINESS_SERVICE = "readiness"
#: Kept back from a caller's deadline so that the answer arrives before it: share of it, and seconds at most.
_DEADLINE_SHARE, _DEADLINE_SECONDS = 0.2, 0.25
#: What grpc gets to write the last answers before the process ends, seconds.
_WRITE_SECONDS = 0.2

log = get_logger(__name__)

Context = Any  # grpc.aio.ServicerContext, of which the stubs know too little
Handler = Callable[["Caller", Lease, Context], Awaitable[bytes]]
#: What it needs to be called, and what it does.
Method = tuple[Access, Handler]
GrpcHandler = Callable[[Any, Context], Awaitable[bytes]]


class Caller(NamedTuple):
    """Who calls, as it was let in; `identity` is None for a public operation. A tuple: see :class:`gateway.call.Call`."""

    scope: Scope | None
    metadata: dict[str, str]
    identity: Identity | None
    charge: Charge = UNLIMITED
    #: None: not traced.
    span: CallSpan | None = None

    @property
    def known(self) -> Identity:
        assert self.identity is not None
        return self.identity


class GrpcDoor:
    """The gRPC server of one process."""

    def __init__(
        self,
        settings: GatewaySettings,
        callers: Authenticator,
        admission: Admission,
        ingest: Ingest,
        queries: QueryClient,
        metrics: GatewayMetrics,
        draining: Draining,
        quotas: Quotas,
        tracing: Tracing | None = None,
    ) -> None:
        self._settings = settings
        self._tracing = tracing
        self._draining = draining
        #: Calls that were taken and are not answered yet.
        self._under_way = 0
        self._callers = callers
        self._quotas = quotas
        self._admission = admission
        self._ingest = ingest
        self._queries = queries
        self._metrics = metrics
        self._reader = MessageReader(settings.grpc_slow_messages, settings.grpc_message_seconds, draining, metrics)
        self._health = cast(Any, health).aio.HealthServicer()
        self._server = grpc_server(server_options(settings))
        self._add_services()

    async def start(self, host: str, port: int, certificates: ServerCertificates | None = None) -> int:
        """Listen; the bound port. Raises OSError when the address is taken."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if certificates is None:
                bound = int(self._server.add_insecure_port(address))
            else:
                bound = int(self._server.add_secure_port(address, certificates.grpc_credentials()))
        except RuntimeError:
            bound = 0
        if not bound:
            raise OSError(f"the gRPC door cannot listen on {address}: is the port in use?")
        await self._server.start()
        return bound

    async def set_serving(self, *, serving: bool, ready: bool) -> None:
        """What health checks are told."""
        states = {"": serving, INSIGHTS_SERVICE: serving, READINESS_SERVICE: ready}
        states |= dict.fromkeys((SERVER_SERVICE, CLIENT_SERVICE), ready)
        for service, good in states.items():
            status = health_pb2.HealthCheckResponse.SERVING if good else health_pb2.HealthCheckResponse.NOT_SERVING
            await self._health.set(service, status)

    async def finish(self, seconds: float) -> None:
        """Wait until every call that was taken is answered, or for `seconds`; the door stays open and refuses new ones."""
        end = asyncio.get_running_loop().time() + seconds
        while self._under_way and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110 - a few times, when leaving
            await asyncio.sleep(0.02)
        await asyncio.sleep(min(_WRITE_SECONDS, seconds))  # grpc writes an answer after its handler returned

    async def stop(self, grace_seconds: float) -> None:
        """Close the door and let calls under way finish within the grace.

        grpc ends a call that arrives just now, or that outlives the grace, with CANCELLED, which no client retries. A process
        that leaves calls :meth:`finish` instead and lets its sockets end with it: that is UNAVAILABLE.
        """
        await self._server.stop(grace_seconds)

    def services(self) -> dict[str, dict[str, Method]]:
        """Every operation, by service and name; health checks and reflection, which are public, aside."""
        single = server_pb2.IngestEventResponse
        services: dict[str, dict[str, Method]] = {
            SERVER_SERVICE: {
                "IngestEvent": self._ingest_event(
                    lambda accepted: single(
                        event_id=accepted.event_id, status="accepted", processed_at=accepted.processed_at
                    ).SerializeToString()
                ),
                "IngestEventBatch": self._ingest_batch(lambda outcome: batch_response(outcome).SerializeToString()),
                "GetEventStats": self._forward(f"/{SERVER_SERVICE}/GetEventStats"),
            },
            CLIENT_SERVICE: {
                "IngestEvent": self._ingest_event(lambda accepted: b""),
                "IngestEventBatch": self._ingest_batch(lambda outcome: b""),
            },
            INSIGHTS_SERVICE: {
                method.rpartition("/")[2]: self._forward(method) for method in METHODS if INSIGHTS_SERVICE in method
            },
        }
        for service in (SERVER_SERVICE, CLIENT_SERVICE):
            services[service] |= {
                "Healthz": (Access.PUBLIC, self._healthz),
                "GetCapabilities": (Access.ANY, self._capabilities),
                "QueryEvents": self._forward(f"/{SERVER_SERVICE}/QueryEvents"),
            }
        return services

    def _add_services(self) -> None:
        for service, methods in self.services().items():
            handlers = {
                name: grpc.stream_unary_rpc_method_handler(self._answered(service, name, *method))
                for name, method in methods.items()
            }
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        files = (server_pb2.DESCRIPTOR, client_pb2.DESCRIPTOR, insights_pb2.DESCRIPTOR)
        names = [service.full_name for file in files for service in file.services_by_name.values()]
        reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    def _answered(self, service: str, method: str, access: Access, handler: Handler) -> GrpcHandler:
        """`handler` for callers with `access`, with its errors as status codes, and counted."""
        seconds = self._metrics.request_seconds.labels(DOOR, method)
        answered = partial(self._metrics.requests.labels, DOOR, method)
        good = answered("OK")
        full_name = f"{service}/{method}"

        async def answer(_: object, context: Context) -> bytes:
            started = time.monotonic()
            code, span = "CANCELLED", None
            self._under_way += 1
            try:
                try:
                    self._draining.check()
                    with self._admission.lease() as lease:
                        caller = self._let_in(full_name, access, lease, context)
                        span = caller.span
                        response = await handler(caller, lease, context)
                    code = "OK"
                    return response
                except GatewayError as error:
                    status = status_of(error)
                except grpc.aio.AbortError:  # answered while its message was read
                    code = context.code().name
                    raise
                except Exception:  # the door's last resort: a caller gets a status, never a trace
                    log.exception("call_failed", door=DOOR, method=method)
                    status = internal_error()
                code = grpc_code(status).name
                # Not while the error is handled: grpc keeps what is raised here in a cycle, and with it, through the error, the
                # frames that hold the request, until the garbage collector looks.
                await context.abort_with_status(rpc_status.to_status(status))
                raise AssertionError("abort raises")
            finally:
                self._under_way -= 1
                (good if code == "OK" else answered(code)).inc()
                seconds.observe(time.monotonic() - started)
                if span is not None:
                    span.end({"rpc.response.status_code": code}, failed=code in OUR_FAULT)

        return answer

    def _let_in(self, name: str, access: Access, lease: Lease, context: Context) -> Caller:
        """Raises Unauthenticated or PermissionDenied; Overloaded when the tenant has its share of calls."""
        metadata = metadata_of(context)
        if access is Access.PUBLIC:
            return Caller(access.scope, metadata, None)
        identity = self._callers.identify(metadata.get("authorization"), access.scope)
        lease.assign(identity.tenant_id)
        charge = self._quotas.charge(identity) if access is Access.INGEST else UNLIMITED
        span = None
        if self._tracing is not None:  # after the key: a stranger makes no span
            attributes = {"rpc.system.name": "grpc", "rpc.method": name, "chaukas.tenant_id": identity.tenant_id}
            span = self._tracing.call(name, metadata.get("traceparent"), attributes)
        return Caller(access.scope, metadata, identity, charge, span)

    async def _read(self, caller: Caller, lease: Lease, context: Context) -> bytes:
        """The message. Its caller must still be welcome once it is there: slow messages take up to half a minute."""
        request = await self._reader.read(context, lease)
        self._callers.identify(caller.metadata.get("authorization"), caller.scope)
        return request

    def _ingest_event(self, respond: Callable[[Accepted], bytes]) -> Method:
        async def handler(caller: Caller, lease: Lease, context: Context) -> bytes:
            request = await self._read_events(caller, lease, context)
            return respond(await self._ingest.event_from_wire(self._call(caller, lease, context), request))

        return Access.INGEST, handler

    def _ingest_batch(self, respond: Callable[[BatchOutcome], bytes]) -> Method:
        async def handler(caller: Caller, lease: Lease, context: Context) -> bytes:
            held = [await self._read_events(caller, lease, context)]
            call = self._call(caller, lease, context)
            try:
                # Popped: the callee alone holds the request, and drops it once its records are made.
                outcome = await self._ingest.batch_from_wire(call, held.pop(), self._settings.batch_max_events)
            except TooManyEvents as error:
                raise InvalidInput.of(
                    "event_batch.events", f"holds more than {error.limit} events, the limit of a batch"
                ) from None
            if outcome.rejected_count:
                context.set_trailing_metadata(rejections_trailer(outcome))
            return respond(outcome)

        return Access.INGEST, handler

    def _call(self, caller: Caller, lease: Lease, context: Context) -> Call:
        traceparent = well_formed_traceparent(caller.metadata.get("traceparent"))
        return Call(caller.known, DOOR, lease, self._seconds(context), traceparent, caller.charge, caller.span)

    async def _read_events(self, caller: Caller, lease: Lease, context: Context) -> bytes:
        """The message. Raises before it is read when there is no room for any."""
        self._admission.check()
        self._ingest.check(self._admission, lease)
        caller.charge.expect()
        request = await self._read(caller, lease, context)
        limit = self._settings.batch_max_bytes
        if len(request) > limit:
            raise InvalidInput.of("", f"the request is {len(request)} bytes; the limit is {limit} bytes")
        caller.charge.size(len(request))
        return request

    def _forward(self, method: str) -> Method:
        message, _ = METHODS[method]

        async def handler(caller: Caller, lease: Lease, context: Context) -> bytes:
            request = await self._read(caller, lease, context)
            try:
                query = message.FromString(request)
            except DecodeError:
                raise InvalidInput.of("", f"the bytes are not a {message.DESCRIPTOR.name}") from None
            seconds = self._seconds(context)
            answer = await self._queries.forward(method, query, caller.known, seconds, caller.span)
            # A caller that does not read its answer keeps it in memory: it counts until the call is over.
            lease.grow(len(answer))
            lease.hold()
            context.add_done_callback(lambda _: lease.done())
            return answer

        return Access.QUERY, handler

    async def _healthz(self, caller: Caller, lease: Lease, context: Context) -> bytes:
        # Not read: whoever has no key must not make us hold a message.
        return b""  # HealthzResponse has no fields

    async def _capabilities(self, caller: Caller, lease: Lease, context: Context) -> bytes:
        await self._read(caller, lease, context)
        response: bytes = server_pb2.GetCapabilitiesResponse(capabilities=CAPABILITIES).SerializeToString()
        return response

    def _seconds(self, context: Context) -> float:
        """How long an answer may take: somewhat less than the caller waits."""
        remaining: float | None = context.time_remaining()
        if remaining is None:
            return self._settings.deadline_seconds
        return max(remaining - min(remaining * _DEADLINE_SHARE, _DEADLINE_SECONDS), 0.001)


def batch_response(outcome: BatchOutcome) -> server_pb2.IngestEventBatchResponse:
    return server_pb2.IngestEventBatchResponse(
        batch_id=outcome.batch_id,
        accepted_count=outcome.accepted_count,
        rejected_count=outcome.rejected_count,
        rejected_event_ids=outcome.rejected_event_ids,
    )
