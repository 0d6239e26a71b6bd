"""The HTTP door: the SDK's routes, the spec's openapi, probes and metrics, as a bare ASGI application.

The order for every call is: path, method, not stopping, room for the call, key, content type, room for the body, body, key
again, work. Who may call what is in one table (:attr:`HttpDoor.routes`) and enforced in one place (:meth:`HttpDoor.__call__`).
Paths are served with and without the prefix ``/v1``.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from chaukas.spec.server.v1 import server_pb2
from google.protobuf.message import DecodeError, Message

from contracts.errors import GatewayError, InvalidInput, Overloaded
from contracts.identity import Identity
from contracts.spec_json import message_to_json, parse_json
from contracts.traceparent import well_formed_traceparent
from contracts.wire import TooManyEvents
from gateway.access import Access
from gateway.admission import NOTHING_ACCEPTED, RETRY_AFTER_SECONDS, Admission, Lease
from gateway.auth import Authenticator
from gateway.call import Call
from gateway.capabilities import CAPABILITIES
from gateway.draining import Draining
from gateway.grpc_server import batch_response
from gateway.http_body import (
    PROTOBUF,
    BodyReader,
    ClientGone,
    Format,
    announced_length,
    body_format,
    headers_of,
    wants_protobuf,
)
from gateway.http_errors import (
    Answer,
    HttpRefusal,
    answer_of,
    internal_error,
    method_not_allowed,
    not_found,
    to_json,
    too_much_json,
    too_much_protobuf,
)
from gateway.http_json import batch_fields, query_from_json, query_to_json, stats_from_json
from gateway.ingest import Ingest
from gateway.metrics import GatewayMetrics
from gateway.openapi import openapi_document
from gateway.query_client import GET_EVENT_STATS, QUERY_EVENTS, QueryClient
from gateway.quotas import UNLIMITED, Charge, Quotas
from runtime.health import Readiness
from runtime.http import CROWDED, PROBES, Receive, Scope, Send, probe_answer, respond
from runtime.logs import get_logger
from runtime.settings import GatewaySettings

if TYPE_CHECKING:
    from runtime.spans import CallSpan, Tracing

DOOR = "http"
#: What needs no credential; ``GET`` and ``HEAD``.
PUBLIC_PATHS = ("/openapi.json", *PROBES)
_CLOSE = (b"connection", b"close")
#: An event of fewer bytes than this on average has no room for its required fields: a body of more events is refused.
_LEAST_EVENT_BYTES = 64

log = get_logger(__name__)

M = TypeVar("M", bound=Message)
Headers = dict[str, str]
Handler = Callable[["Request"], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: its HTTP method, who may call it, what it does."""

    method: str
    access: Access
    handler: Handler


class Request(NamedTuple):
    """A request whose caller was let in; its body is not read yet. A tuple: see :class:`gateway.call.Call`."""

    headers: Headers
    receive: Receive
    lease: Lease
    identity: Identity
    access: Access
    charge: Charge
    #: None: not traced.
    span: CallSpan | None


class HttpDoor:
    """The ASGI application of one process."""

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
        readiness: Readiness,
        tracing: Tracing | None = None,
    ) -> None:
        self._settings = settings
        self._tracing = tracing
        self._draining = draining
        self._callers = callers
        self._quotas = quotas
        self._admission = admission
        self._ingest = ingest
        self._queries = queries
        self._metrics = metrics
        self._readiness = readiness
        self._bodies = BodyReader(settings.http_body_seconds, draining)
        # Paths are those of the routes, codes our own: neither grows with what callers send.
        self._answered = functools.cache(metrics.requests.labels)
        self._seconds = functools.cache(metrics.request_seconds.labels)
        self._openapi = to_json(openapi_document())
        #: By path; beside them there is only what :meth:`_public` answers.
        self.routes = {
            "/events": Route("POST", Access.INGEST, self._event),
            "/events/batch": Route("POST", Access.INGEST, self._batch),
            "/query": Route("POST", Access.QUERY, self._query),
            "/stats": Route("POST", Access.QUERY, self._stats),
            "/capabilities": Route("GET", Access.ANY, self._capabilities),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"].removeprefix("/v1")
        route = self.routes.get(path)
        if route is None:
            await self._respond(send, self._public(path, scope["method"]))
            return
        started = time.monotonic()
        lease: Lease | None = None
        answer: Answer | None = None
        span: CallSpan | None = None
        try:
            if scope["method"] != route.method:
                raise method_not_allowed(route.method)
            self._draining.check_last()
            if scope.get("state", {}).get(CROWDED):
                self._metrics.overloaded.inc()
                raise Overloaded(f"the gateway has too many connections; {NOTHING_ACCEPTED}", RETRY_AFTER_SECONDS)
            lease = self._admission.lease()
            headers = headers_of(scope)
            identity = self._callers.identify(headers.get("authorization"), route.access.scope)
            lease.assign(identity.tenant_id)
            charge = self._quotas.charge(identity) if route.access is Access.INGEST else UNLIMITED
            if self._tracing is not None:  # after the key: a stranger makes no span
                known = {
                    "http.request.method": route.method,
                    "http.route": path,
                    "chaukas.tenant_id": identity.tenant_id,
                }
                span = self._tracing.call(f"{route.method} {path}", headers.get("traceparent"), known)
            answer = await route.handler(Request(headers, receive, lease, identity, route.access, charge, span))
        except (GatewayError, HttpRefusal) as error:
            answer = answer_of(error)
        except ClientGone:
            pass
        except Exception:  # the door's last resort: a caller gets a status, never a trace
            log.exception("call_failed", door=DOOR, path=path)
            answer = internal_error()
        finally:
            code = "gone" if answer is None else str(answer.status)
            self._answered(DOOR, path, code).inc()
            self._seconds(DOOR, path).observe(time.monotonic() - started)
            if span is not None:
                status = 499 if answer is None else answer.status
                span.end({"http.response.status_code": status}, failed=status >= 500)
            if lease is not None and answer is None:
                lease.done()
        if answer is not None:
            try:
                await self._respond(send, answer)
            finally:
                if lease is not None:
                    lease.done()

    async def _respond(self, send: Send, answer: Answer) -> None:
        headers = (*answer.headers, _CLOSE) if self._draining.leaving else answer.headers
        await respond(send, answer.status, answer.body, answer.content_type, headers)

    def _public(self, path: str, method: str) -> Answer:
        """What needs no key and no room."""
        if path == "/openapi.json":
            answer = Answer(200, self._openapi)
        else:
            if path == "/metrics":
                self._metrics.refresh()
            probe = probe_answer(path, self._metrics.page, self._readiness)
            if probe is None:
                return answer_of(not_found())
            answer = Answer(*probe)
        return answer if method in ("GET", "HEAD") else answer_of(method_not_allowed("GET"))

    async def _event(self, request: Request) -> Answer:
        call = self._ingest_call(request)
        if body_format(request.headers) is Format.PROTOBUF:
            accepted = await self._ingest.event_from_wire(call, await self._read_protobuf(request))
        else:
            accepted = await self._ingest.event_from_json(call, await self._read_json(request))
        fields = {"event_id": accepted.event_id, "status": "accepted", "processed_at": accepted.processed_at}
        return _answer(202, request.headers, fields, lambda: server_pb2.IngestEventResponse(**fields))

    async def _batch(self, request: Request) -> Answer:
        call = self._ingest_call(request)
        if body_format(request.headers) is Format.PROTOBUF:
            most = max(self._settings.http_max_body_bytes // _LEAST_EVENT_BYTES, self._settings.batch_max_events)
            try:
                # No name for the body: who holds it is the callee, and drops it.
                outcome = await self._ingest.batch_from_wire(call, await self._read_protobuf(request), most)
            except TooManyEvents as error:
                raise too_much_protobuf(f"the batch holds more than {error.limit} events") from None
        else:
            try:
                outcome = await self._ingest.batch_from_json(
                    call, await self._read_json(request), self._settings.batch_max_events
                )
            except TooManyEvents as error:
                raise too_much_json(f"the batch holds more than {error.limit} events") from None
        return _answer(202, request.headers, batch_fields(outcome), lambda: batch_response(outcome))

    async def _query(self, request: Request) -> Answer:
        query = await self._read_query(request, server_pb2.QueryEventsRequest, query_from_json)
        seconds = self._settings.deadline_seconds
        raw = await self._queries.forward(QUERY_EVENTS, query, request.identity, seconds, request.span)
        request.lease.grow(len(raw))  # until the caller has read it
        if wants_protobuf(request.headers):
            return Answer(200, raw, PROTOBUF)
        # A full page takes some 100 ms to write: on a thread, so that other calls go on meanwhile.
        return Answer(200, await asyncio.to_thread(query_to_json, raw))

    async def _stats(self, request: Request) -> Answer:
        query = await self._read_query(request, server_pb2.GetEventStatsRequest, stats_from_json)
        seconds = self._settings.deadline_seconds
        raw = await self._queries.forward(GET_EVENT_STATS, query, request.identity, seconds, request.span)
        request.lease.grow(len(raw))
        if wants_protobuf(request.headers):
            return Answer(200, raw, PROTOBUF)
        response = server_pb2.GetEventStatsResponse.FromString(raw)
        return Answer(200, to_json(message_to_json(response, defaults=True)))

    async def _capabilities(self, request: Request) -> Answer:
        if wants_protobuf(request.headers):
            response = server_pb2.GetCapabilitiesResponse(capabilities=CAPABILITIES)
            return Answer(200, response.SerializeToString(), PROTOBUF)
        return Answer(200, to_json(message_to_json(CAPABILITIES, defaults=True)))

    def _ingest_call(self, request: Request) -> Call:
        self._ingest.check(self._admission, request.lease)
        traceparent = well_formed_traceparent(request.headers.get("traceparent"))
        seconds = self._settings.deadline_seconds
        return Call(request.identity, DOOR, request.lease, seconds, traceparent, request.charge, request.span)

    async def _read_protobuf(self, request: Request) -> bytes:
        return await self._read(request, self._settings.http_max_body_bytes, too_much_protobuf)

    async def _read_json(self, request: Request) -> Any:
        return parse_json(await self._read(request, self._settings.batch_max_bytes, too_much_json))

    async def _read_query(self, request: Request, kind: type[M], from_json: Callable[[Any], M]) -> M:
        """A query; an empty body asks for everything the key may see."""
        headers = request.headers
        if headers.get("content-length") == "0" or not {"content-length", "transfer-encoding"} & headers.keys():
            return kind()
        if body_format(headers) is Format.JSON:
            return from_json(await self._read_json(request))
        body = await self._read(request, self._settings.batch_max_bytes, too_much_json)
        try:
            return kind.FromString(body)
        except DecodeError:
            raise InvalidInput.of("", f"the bytes are not a {kind.DESCRIPTOR.name}") from None

    async def _read(self, request: Request, limit: int, too_large: Callable[[str], HttpRefusal]) -> bytes:
        """The body. Its caller must still be welcome once it is there: slow bodies take up to half a minute."""
        announced = announced_length(request.headers)
        if announced is None:
            request.charge.expect()
        elif announced <= limit:
            request.charge.size(announced)
        body = await self._bodies.read(
            request.receive, request.headers, request.lease, limit=limit, too_large=too_large
        )
        if announced is None:
            request.charge.size(len(body))
        self._callers.identify(request.headers.get("authorization"), request.access.scope)
        return body


def _answer(status: int, headers: Headers, fields: dict[str, Any], message: Callable[[], Message]) -> Answer:
    """JSON unless the caller asks for protobuf."""
    if wants_protobuf(headers):
        return Answer(status, message().SerializeToString(), PROTOBUF)
    return Answer(status, to_json(fields))
