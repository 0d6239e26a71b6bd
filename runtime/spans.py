"""Spans by OpenTelemetry, sent as OTLP. Import it through :func:`runtime.tracing.start` only.

A span says which step took how long, how it ended and how many events it was about: never what was in them, nor a key. Whether
a trace is recorded is decided here, before any span is made: by the caller's flag, else by the ratio (parent-based sampling, which
the SDK would do after most of the work). Spans have explicit parents; nothing is kept in context variables.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Literal

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from prometheus_client import CollectorRegistry, Counter

from contracts.traceparent import Seen, is_sampled, well_formed_traceparent
from runtime import catalogue
from runtime.logs import Seldom, get_logger
from runtime.settings.tracing import TracingSettings

log = get_logger(__name__)

Attributes = Mapping[str, str | int]
#: The kinds of spans, by their names in :class:`opentelemetry.trace.SpanKind`.
Kind = Literal["PRODUCER", "CONSUMER", "CLIENT"]

#: Calls of one batch that get a span of it in their trace; the others are counted.
MOST_CALLS = 128
#: Spans of one request to the collector.
_EXPORT_SPANS = 512
#: What the conventions call the number of records in a batch.
_COUNTS: dict[Kind, str] = {
    "PRODUCER": "messaging.batch.message_count",
    "CONSUMER": "messaging.batch.message_count",
    "CLIENT": "db.operation.batch.size",
}
_ROOT = Context()
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class TracingMetrics:
    """What became of spans."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.exported = Counter(*catalogue.SPANS_EXPORTED, registry=registry)
        self.dropped = Counter(*catalogue.SPANS_DROPPED, ["reason"], registry=registry)


class Tracing:
    """The spans of one process. For any thread."""

    def __init__(
        self,
        provider: TracerProvider,
        sample_ratio: float,
        metrics: TracingMetrics,
        close: Callable[[float], None],
    ) -> None:
        self._tracer = provider.get_tracer("chaukas-gateway")
        self._ratio = sample_ratio
        self._metrics = metrics
        #: Sends what waits, within so many seconds, and ends. Blocks.
        self.close = close

    def call(self, name: str, traceparent: str | None, attributes: Attributes) -> CallSpan | None:
        """The span of a call that begins now, below its caller's `traceparent` if that is one; None when it is not sampled."""
        traceparent = well_formed_traceparent(traceparent)
        if traceparent is None:
            if random.random() >= self._ratio:  # noqa: S311 - samples, guards nothing
                return None
            parent = _ROOT
        elif is_sampled(traceparent):
            parent = _below(_context_of(traceparent))
        else:
            return None
        return CallSpan(self._tracer, self._tracer.start_span(name, parent, SpanKind.SERVER, attributes))

    def answered(
        self, name: str, traceparent: str | None, started_ns: int, attributes: Attributes, *, failed: bool
    ) -> None:
        """The span of a call that was answered now and asked nobody else; only below a sampled `traceparent`."""
        traceparent = well_formed_traceparent(traceparent)
        if traceparent is None or not is_sampled(traceparent):
            return
        parent = _below(_context_of(traceparent))
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes, start_time=started_ns)
        _end(span, failed=failed)

    def batch(
        self, name: str, kind: Kind, seen: Seen, started_ns: int, attributes: Attributes, problem: str = ""
    ) -> None:
        """The spans of work that is over now and was done for the records of several calls at once.

        Each sampled call gets one in its own trace. Where there are several, the batch has one as well, a trace of its own that
        links to all of them and they to it. `problem` is a word of ours for why it failed.
        """
        calls, left_out = _sampled(seen)
        if left_out:
            self._metrics.dropped.labels("batch").inc(left_out)
        if not calls:
            return
        ended_ns, count = time.time_ns(), _COUNTS[kind]
        links: Sequence[Link] = ()
        if len(calls) + left_out > 1:
            whole = self._tracer.start_span(
                f"{name} (batch)",
                _ROOT,
                SpanKind.INTERNAL,
                {**attributes, count: sum(seen.values()), "chaukas.calls.left_out": left_out},
                [Link(call, {count: records}) for call, records in calls],
                start_time=started_ns,
            )
            _end(whole, problem=problem, failed=bool(problem), ended_ns=ended_ns)
            links = (Link(whole.get_span_context()),)
        for call, records in calls:
            span = self._tracer.start_span(
                name, _below(call), SpanKind[kind], {**attributes, count: records}, links, start_time=started_ns
            )
            _end(span, problem=problem, failed=bool(problem), ended_ns=ended_ns)


class CallSpan:
    """A call under way, and the one thing at a time that it waits for. On one thread."""

    __slots__ = ("_child", "_span", "_tracer")

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._child: Span | None = None

    def begin(self, name: str, kind: Kind, attributes: Attributes) -> str:
        """What the call asks of others begins: the ``traceparent`` for them."""
        child = self._child = self._tracer.start_span(
            name, _below(self._span.get_span_context()), SpanKind[kind], attributes
        )
        context = child.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-01"

    def done(self, attributes: Attributes) -> None:
        """It was answered. What is not when the call ends has failed."""
        child, self._child = self._child, None
        if child is not None:
            child.set_attributes(attributes)
            child.end()

    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def end(self, attributes: Attributes, *, failed: bool) -> None:
        """The call is answered; `failed`: by the server's fault, as the conventions have it."""
        if self._child is not None:
            _end(self._child, failed=True)
        self._span.set_attributes(attributes)
        _end(self._span, failed=failed)


def connect(settings: TracingSettings, process: str, instance: int, registry: CollectorRegistry) -> Tracing:
    """Spans of this process, on their way to the collector from a thread of their own."""
    logger = logging.getLogger(trace_exporter.__name__)
    logger.filters = [found for found in logger.filters if not isinstance(found, Seldom)]
    logger.addFilter(Seldom())  # a collector that is away is said again and again
    exporter = trace_exporter.OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint}/v1/traces")
    metrics = TracingMetrics(registry)
    queue = BoundedQueue(exporter, settings.queue_spans, metrics)
    provider = TracerProvider(resource=_resource(process, instance), sampler=ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(queue)
    log.info("tracing_started", endpoint=settings.otlp_endpoint, sample_ratio=settings.sample_ratio)
    return Tracing(provider, settings.sample_ratio, metrics, queue.close)


class BoundedQueue(SpanProcessor):
    """The SDK's batches behind a bound of our own, so that whatever is dropped is counted: the SDK only logs it."""

    def __init__(self, exporter: SpanExporter, most: int, metrics: TracingMetrics) -> None:
        self._exporter = exporter
        self._most = most
        self._metrics = metrics
        self._waiting = 0
        self._lock = threading.Lock()
        self._batches = BatchSpanProcessor(_Counted(exporter, self._taken, metrics), most, None, _EXPORT_SPANS)

    def on_end(self, span: ReadableSpan) -> None:
        with self._lock:
            full = self._waiting >= self._most
            self._waiting += not full
        if full:
            self._metrics.dropped.labels("queue").inc()
        else:
            self._batches.on_end(span)

    def close(self, seconds: float) -> None:
        """Send what waits; what is not taken within so many seconds is given up. Blocks."""
        sending = threading.Thread(target=self._batches.shutdown, name="last-spans", daemon=True)
        sending.start()
        sending.join(seconds)
        if sending.is_alive():
            self._exporter.shutdown()

    def _taken(self, spans: int) -> None:
        with self._lock:
            self._waiting -= spans


class _Counted(SpanExporter):
    def __init__(self, exporter: SpanExporter, taken: Callable[[int], None], metrics: TracingMetrics) -> None:
        self._exporter = exporter
        self._taken = taken
        self._metrics = metrics

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._taken(len(spans))
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._metrics.exported.inc(len(spans))
        else:
            self._metrics.dropped.labels("export").inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _resource(process: str, instance: int) -> Resource:
    return Resource.create(
        {
            "service.name": f"chaukas-{process}",
            "service.namespace": "chaukas",
            "service.version": version("chaukas-gateway"),
            "service.instance.id": f"{socket.gethostname()}/{process}-{instance}/{os.getpid()}",
        }
    )


def _sampled(seen: Seen) -> tuple[list[tuple[SpanContext, int]], int]:
    """The first :data:`MOST_CALLS` sampled ones with their records, and how many more there are."""
    found: list[tuple[SpanContext, int]] = []
    left_out = 0
    for value, records in seen.items():
        traceparent = well_formed_traceparent(value.decode("ascii", "replace"))
        if traceparent is None or not is_sampled(traceparent):
            continue
        if len(found) < MOST_CALLS:
            found.append((_context_of(traceparent), records))
        else:
            left_out += 1
    return found, left_out


def _context_of(traceparent: str) -> SpanContext:
    _, trace_id, span_id, _ = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=_SAMPLED)


def _below(parent: SpanContext) -> Context:
    return set_span_in_context(NonRecordingSpan(parent), _ROOT)


def _end(span: Span, *, failed: bool, problem: str = "", ended_ns: int | None = None) -> None:
    if failed:
        span.set_status(StatusCode.ERROR, problem or None)
    span.end(ended_ns)
