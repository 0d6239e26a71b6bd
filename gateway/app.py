"""One gateway: its parts, put together, started and stopped in order.

Start: keys → producer → watch on Kafka → doors (they answer at once; readiness tells load balancers when). Stop: not ready →
new calls are refused with a hint → doors closed → calls in flight finish, or are answered that they did not → the producer's
queue is delivered → leave, all within ``GATEWAY_SHUTDOWN_SECONDS``.
"""

from __future__ import annotations

import asyncio
import math
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contracts.topics import RAW_MAX_BYTES
from contracts.validation import Limits
from gateway.admission import Admission
from gateway.callers import authenticator
from gateway.draining import Draining
from gateway.grpc_server import GrpcDoor
from gateway.http_app import HttpDoor
from gateway.ingest import Ingest
from gateway.kafka_watch import KafkaWatch
from gateway.metrics import GatewayMetrics
from gateway.own_page import OwnPage
from gateway.publisher import Publisher
from gateway.query_client import QueryClient
from gateway.quotas import QuotaRules, Quotas
from runtime import tracing
from runtime.health import Readiness
from runtime.http import Bounds, EmbeddedServer, embedded, listen
from runtime.kafka import producer_config
from runtime.logs import get_logger
from runtime.settings import GatewaySettings, InvalidSettings, KafkaSettings, TracingSettings
from runtime.shared_metrics import SharedMetrics
from runtime.tls import ClientCertificates, ServerCertificates, TlsFiles, UnusableCertificate

if TYPE_CHECKING:
    from runtime.spans import Tracing

log = get_logger(__name__)

_SERVING = "serving"
#: Parts of the shutdown time until calls in flight are answered that they did not finish, and until the doors are closed; the
#: rest is for the producer's queue.
_WAITS, _DOORS = 0.7, 0.8
#: Longest time in which new calls are refused with the doors still open.
_REFUSE_SECONDS = 2.0
#: Longest time that the last spans get when everything else is done.
_SPANS_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the doors listen."""

    grpc: int
    http: int


class Gateway:
    """Both doors on the running event loop. ``await start()``, later ``await stop()``; not to be started again."""

    def __init__(
        self,
        settings: GatewaySettings,
        kafka: KafkaSettings,
        shared: SharedMetrics | None = None,
        tracing_settings: TracingSettings | None = None,
    ) -> None:
        self.settings = settings
        self.kafka = kafka
        self.readiness = Readiness()
        self.metrics = GatewayMetrics(shared, settings.starts_dir)
        self.admission = Admission(settings.inflight_max_bytes, self.metrics, settings.inflight_max_calls)
        self.draining = Draining()
        #: Both are there once :meth:`start` returned.
        self.grpc_door: GrpcDoor
        self.http_door: HttpDoor
        self._tracing_settings = tracing_settings
        self._tracing: Tracing | None = None
        self._watch: KafkaWatch | None = None
        self._publisher: Publisher | None = None
        self._queries: QueryClient | None = None
        self._grpc: GrpcDoor | None = None
        self._http: EmbeddedServer | None = None
        self._socket: socket.socket | None = None
        self._http_task: asyncio.Task[None] | None = None
        self._health_task: asyncio.Task[None] | None = None
        self._own_page: OwnPage | None = None

    async def start(self) -> Ports:
        """Listen and serve; the bound ports. Raises OSError when an address is taken, InvalidSettings (and leaves nothing running)."""
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> Ports:
        settings = self.settings
        exposed = settings.open_to_others(grpc_host=settings.grpc_host, http_host=settings.http_host)
        if exposed:
            log.warning("listens_without_tls", settings=exposed, risk="keys and events can be read on the way")
        certificates = ServerCertificates.of(settings)
        self.readiness.set(_SERVING, "starting")
        if self._tracing_settings is not None:
            self._tracing = tracing.start(self._tracing_settings, "gateway", settings.instance, self.metrics.registry)
        callers = authenticator(settings, self.readiness, self.metrics)
        self._socket = listen(settings.http_host, settings.http_port, share=True)
        config = producer_config(
            self.kafka,
            max_message_bytes=RAW_MAX_BYTES,
            delivery_seconds=settings.delivery_seconds,
            linger_ms=settings.linger_ms,
        )
        publisher = Publisher(
            config,
            self.kafka.topics.raw,
            self.metrics,
            on_failure=self._delivery_failed,
            draining=self.draining,
            behind_seconds=settings.delivery_seconds / 2,
        )
        self._publisher = publisher
        ingest = Ingest(publisher, Limits(settings.event_max_bytes), self.metrics)
        self._queries = QueryClient(
            settings.sink_target, settings.sink_token.get_secret_value(), self.draining, _sinks_certificates(settings)
        )
        self._watch = KafkaWatch(
            self.kafka,
            publisher,
            self.readiness,
            interval_seconds=settings.kafka_check_seconds,
            on_change=self._publish_health,
        )
        quotas = Quotas(QuotaRules.of(settings), self.metrics)
        parts = (settings, callers, self.admission, ingest, self._queries, self.metrics, self.draining, quotas)
        self._grpc = self.grpc_door = GrpcDoor(*parts, self._tracing)
        ports = Ports(
            await self._grpc.start(settings.grpc_host, settings.grpc_port, certificates), self._socket.getsockname()[1]
        )
        bounds = Bounds(
            max_connections=settings.http_max_connections,
            rest_seconds=settings.http_body_seconds,
            answer_seconds=settings.http_answer_seconds,
        )
        self.http_door = HttpDoor(*parts, self.readiness, self._tracing)
        self._http = embedded(
            self.http_door, bounds, certificates, timeout_keep_alive=math.ceil(settings.http_keep_alive_seconds)
        )
        self._http_task = asyncio.create_task(self._http.serve(sockets=[self._socket]), name="http-door")
        self._own_page = OwnPage(self.metrics, self.readiness)
        self._own_page.start(settings.http_host, settings.status_port and settings.status_port + settings.instance)
        self.readiness.set(_SERVING)
        self._publish_health()
        self._watch.start()
        log.info("gateway_started", grpc_port=ports.grpc, http_port=ports.http, topic=publisher.topic)
        return ports

    async def stop(self, *, exiting: bool = False) -> None:
        """Stop in order, within the shutdown time. Safe to call at any point of the start.

        `exiting`: the process ends right afterwards, so the gRPC door goes on refusing calls until its sockets end with the
        process. Closing it would end a call that arrives in that moment with CANCELLED, which no client retries.
        """
        seconds = self.settings.shutdown_seconds
        deadline = asyncio.get_running_loop().time() + seconds
        self.readiness.set(_SERVING, "stopping")
        if self._watch is not None:
            self._watch.stop()
        try:
            async with asyncio.timeout_at(deadline):
                await self._close_doors(seconds, exiting)
                if self._publisher is not None:
                    left = max(0.1, deadline - asyncio.get_running_loop().time() - 0.2)
                    undelivered = await asyncio.to_thread(self._publisher.close, left)
                    if undelivered:
                        log.error("records_left_behind", records=undelivered)
                if self._queries is not None:
                    await self._queries.close()
                if self._own_page is not None and not exiting:
                    await self._own_page.stop()
                if self._tracing is not None:
                    left = deadline - asyncio.get_running_loop().time() - 0.1
                    await asyncio.to_thread(self._tracing.close, max(0.1, min(left, _SPANS_SECONDS)))
        except TimeoutError:
            log.error("shutdown_cut_short", seconds=seconds)
        log.info("gateway_stopped")

    async def _close_doors(self, seconds: float, exiting: bool) -> None:
        """Within :data:`_DOORS` of `seconds`."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        if self._grpc is not None:
            await self._grpc.set_serving(serving=False, ready=False)
        giving_up = loop.call_at(started + seconds * _WAITS, self.draining.give_up)
        if self._grpc is not None or self._http_task is not None:
            await self.draining.refuse_until_quiet(min(_REFUSE_SECONDS, seconds * _WAITS / 2))
        closing = []
        grace_seconds = seconds * _DOORS - (loop.time() - started)
        if self._grpc is not None:
            closing.append(self._grpc.finish(grace_seconds) if exiting else self._grpc.stop(grace_seconds))
        if self._http is not None and self._http_task is not None:
            self._http.should_exit = True
            closing.append(_within(self._http_task, grace_seconds))
        elif self._socket is not None:
            self._socket.close()
        await asyncio.gather(*closing)
        giving_up.cancel()

    def _delivery_failed(self, problem: str) -> None:
        if self._watch is not None:
            self._watch.failed(problem)

    def _publish_health(self) -> None:
        """The readiness, to the gRPC health service and the metric."""
        ready = self.readiness.ready
        self.metrics.ready.set(ready)
        if self._grpc is not None:
            self._health_task = asyncio.ensure_future(self._grpc.set_serving(serving=True, ready=ready))


def _sinks_certificates(settings: GatewaySettings) -> ClientCertificates | None:
    """None: plaintext. Raises InvalidSettings."""
    files = TlsFiles(settings.sink_cert_file, settings.sink_key_file, settings.sink_ca_file)
    if not settings.sink_tls and not files.present():
        return None
    try:
        return ClientCertificates(files)
    except UnusableCertificate as error:
        raise InvalidSettings(str(error)) from None


async def _within(task: asyncio.Task[None], seconds: float) -> None:
    """Wait for `task`; cancel it when it takes longer."""
    _, pending = await asyncio.wait({task}, timeout=seconds)
    for late in pending:
        late.cancel()
