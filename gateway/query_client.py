"""Forwards queries to the sink: as the caller, with the caller's identity.

The gateway decides who may ask for what (the key's tenant, the key's projects) and tells the sink in authenticated metadata;
the sink limits every answer to it. Answers pass through as the bytes they are. A sink that does not answer is
:class:`contracts.errors.Unavailable`; a sink that refuses the *query* is :class:`SinkRefused`, which both doors pass on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from chaukas.spec.server.v1.server_pb2 import GetEventStatsRequest, QueryEventsRequest
from google.protobuf.message import Message

from contracts.errors import GatewayError, PermissionDenied, Unavailable
from contracts.headers import TRACEPARENT
from contracts.identity import IDENTITY_METADATA, INTERNAL_TOKEN_METADATA, Identity
from contracts.topics import MIB
from contracts.v1.insights_pb2 import (
    GetHandoffStatsRequest,
    GetMcpStatsRequest,
    ListHandoffsRequest,
    ListMcpCallsRequest,
)
from gateway.draining import RETRY_SECONDS, Draining
from runtime.logs import get_logger
from runtime.tls import ClientCertificates

if TYPE_CHECKING:
    from runtime.spans import CallSpan

log = get_logger(__name__)

DETAILS_METADATA = "grpc-status-details-bin"
_SERVER = "/chaukas.spec.server.v1.ChaukasServerService"
_INSIGHTS = "/chaukas.gateway.v1.InsightsService"
_OPTIONS = (
    ("grpc.max_receive_message_length", 16 * MIB),
    ("grpc.max_send_message_length", 4 * MIB),
    # A sink that comes back is found within a second or two.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
)

#: Request message and where its tenant and project are.
Scoped = Callable[[Any], Any]
METHODS: dict[str, tuple[type[Message], Scoped]] = {
    f"{_SERVER}/QueryEvents": (QueryEventsRequest, lambda request: request.query.filter),
    f"{_SERVER}/GetEventStats": (GetEventStatsRequest, lambda request: request),
    f"{_INSIGHTS}/ListHandoffs": (ListHandoffsRequest, lambda request: request.filter),
    f"{_INSIGHTS}/ListMcpCalls": (ListMcpCallsRequest, lambda request: request.filter),
    f"{_INSIGHTS}/GetHandoffStats": (GetHandoffStatsRequest, lambda request: request),
    f"{_INSIGHTS}/GetMcpStats": (GetMcpStatsRequest, lambda request: request),
}
QUERY_EVENTS = f"{_SERVER}/QueryEvents"
#: Calls of a channel whose certificates were replaced have left, seconds.
_OLD_CHANNEL_SECONDS = 60.0
GET_EVENT_STATS = f"{_SERVER}/GetEventStats"

#: The sink's own trouble, or its quarrel with this gateway: not the caller's fault, and worth a retry.
_AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.CANCELLED}


class SinkRefused(GatewayError):
    """The sink answered with an error that is for the caller: a bad page token, an unknown filter, a query too slow."""

    def __init__(self, code: grpc.StatusCode, message: str, details: bytes | None) -> None:
        super().__init__(message)
        self.code = code
        #: A serialized ``google.rpc.Status``, as the sink sent it.
        self.details = details


class QueryClient:
    """One channel to the sink; connects when first used, reconnects by itself. Plaintext without `certificates`."""

    def __init__(
        self, target: str, token: str, draining: Draining, certificates: ClientCertificates | None = None
    ) -> None:
        self._target = target
        self._draining = draining
        self._token = token
        self._certificates = certificates
        self._retired: set[asyncio.Task[None]] = set()
        self._connect()

    def _connect(self) -> None:
        channel: Any = (
            grpc.aio.insecure_channel(self._target, options=_OPTIONS)
            if self._certificates is None
            else grpc.aio.secure_channel(self._target, self._certificates.credentials, options=_OPTIONS)
        )
        self._channel = channel
        self._calls = {method: channel.unary_unary(method) for method in METHODS}

    def _renew(self) -> None:
        """A channel keeps the certificates it was made with: another one, and the old one ends with its calls."""
        old = self._channel
        self._connect()
        closing = asyncio.ensure_future(old.close(_OLD_CHANNEL_SECONDS))
        self._retired.add(closing)
        closing.add_done_callback(self._retired.discard)

    async def forward(
        self, method: str, request: Any, identity: Identity, seconds: float, span: CallSpan | None = None
    ) -> bytes:
        """Ask the sink within `seconds`; the answer's bytes. `request` is changed: an empty tenant becomes the caller's.

        Raises :class:`PermissionDenied`, :class:`Unavailable` or :class:`SinkRefused`.
        """
        scoped = METHODS[method][1](request)
        if not scoped.tenant_id:
            scoped.tenant_id = identity.tenant_id
        elif scoped.tenant_id != identity.tenant_id:
            raise PermissionDenied("tenant_id is not the API key's tenant")
        if scoped.project_id and not identity.allows_project(scoped.project_id):
            raise PermissionDenied("project_id is not one of the API key's projects")
        if self._certificates is not None and self._certificates.changed():
            self._renew()
        metadata: list[tuple[str, str | bytes]] = [(IDENTITY_METADATA, identity.to_metadata())]
        if self._token:
            metadata.append((INTERNAL_TOKEN_METADATA, self._token))
        if span is not None:
            name = method.removeprefix("/")
            attributes = {"rpc.system.name": "grpc", "rpc.method": name}
            metadata.append((TRACEPARENT, span.begin(name, "CLIENT", attributes)))
        try:
            async with self._draining.timeout(seconds + 1):
                answer: bytes = await self._calls[method](
                    request.SerializeToString(), timeout=seconds, metadata=metadata
                )
        except TimeoutError:
            raise Unavailable("this gateway is stopping; ask again", RETRY_SECONDS) from None
        except grpc.aio.AioRpcError as error:
            raise self._translate(error, method) from None
        if span is not None:
            span.done({"rpc.response.status_code": "OK"})
        return answer

    async def close(self) -> None:
        for closing in self._retired:
            closing.cancel()
        await self._channel.close()

    def _translate(self, error: grpc.aio.AioRpcError, method: str) -> GatewayError:
        code = error.code()
        if code in _AWAY:
            log.warning("sink_unavailable", method=method, code=code.name, details=error.details())
            return Unavailable("the query server does not answer; events are accepted all the same")
        if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS):
            log.error("sink_failed", method=method, code=code.name, details=error.details())
            return SinkRefused(grpc.StatusCode.INTERNAL, "the query failed", None)
        trailers: Any = error.trailing_metadata() or ()
        details = next((value for key, value in trailers if key == DETAILS_METADATA), None)
        return SinkRefused(code, error.details() or "", details if isinstance(details, bytes) else None)
