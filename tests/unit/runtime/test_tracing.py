"""Spans: what is made of which call, how a batch tells of its calls, and that a collector that is away costs spans alone."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry

from contracts.headers import TRACEPARENT
from contracts.traceparent import Seen
from runtime import tracing
from runtime.settings import InvalidSettings, TracingSettings, load
from runtime.spans import MOST_CALLS, BoundedQueue, TracingMetrics, connect
from tests.support.spans import PARENT, SAMPLED, TRACE, UNSAMPLED, Spans, parent_of, trace_of


@pytest.fixture
def spans() -> Spans:
    return Spans()


def test_a_call_goes_on_where_its_caller_is(spans: Spans) -> None:
    call = spans.tracing.call("IngestEvent", SAMPLED, {"chaukas.tenant_id": "acme"})
    assert call is not None
    carried = call.begin("send raw", "PRODUCER", {"messaging.system": "kafka"})
    call.done({"messaging.batch.message_count": 3})
    call.end({"rpc.response.status_code": "OK"}, failed=False)
    sending, answered = spans.ended
    assert answered.context is not None and sending.context is not None
    assert (trace_of(answered), parent_of(answered), answered.kind) == (TRACE, PARENT, SpanKind.SERVER)
    assert (trace_of(sending), sending.kind) == (TRACE, SpanKind.PRODUCER)
    assert parent_of(sending) == f"{answered.context.span_id:016x}"
    assert carried == f"00-{TRACE}-{sending.context.span_id:016x}-01"
    assert dict(answered.attributes or {}) == {"chaukas.tenant_id": "acme", "rpc.response.status_code": "OK"}
    assert answered.status.status_code is sending.status.status_code is StatusCode.UNSET


def test_what_a_failed_call_waited_for_has_failed(spans: Spans) -> None:
    call = spans.tracing.call("IngestEvent", SAMPLED, {})
    assert call is not None
    call.begin("send raw", "PRODUCER", {})
    call.end({"rpc.response.status_code": "UNAVAILABLE"}, failed=True)
    assert [one.status.status_code for one in spans.ended] == [StatusCode.ERROR, StatusCode.ERROR]


@pytest.mark.parametrize(
    ("ratio", "traceparent", "traced"),
    [
        (1.0, UNSAMPLED, False),
        (0.0, SAMPLED, True),
        (0.0, None, False),
        (1.0, None, True),
        (0.0, "00-nonsense-01", False),
        (1.0, "00-nonsense-01", True),
    ],
)
def test_the_callers_decision_holds_else_the_ratio(ratio: float, traceparent: str | None, traced: bool) -> None:
    assert (Spans(ratio).tracing.call("x", traceparent, {}) is not None) is traced


def test_a_call_without_a_trace_begins_one() -> None:
    made = Spans(1.0)
    call = made.tracing.call("x", None, {})
    assert call is not None
    carried = call.begin("y", "PRODUCER", {})
    call.end({}, failed=False)
    assert made.ended[1].parent is None
    assert carried.split("-")[1] == trace_of(made.ended[1]) == trace_of(made.ended[0])


def seen_of(*numbers: int, flags: str = "01") -> Seen:
    return {f"00-{number:032x}-{number:016x}-{flags}".encode(): number for number in numbers}


def test_a_batch_tells_each_of_its_calls(spans: Spans) -> None:
    started = time.time_ns() - 1_000_000
    seen = seen_of(1, 2) | seen_of(3, flags="00") | {b"\xff\xfe": 1, b"00-no-traceparent-01": 2}
    spans.tracing.batch("process raw", "CONSUMER", seen, started, {"messaging.system": "kafka"})
    whole, *calls = spans.ended
    assert whole.context is not None
    assert (whole.name, whole.parent, whole.kind) == ("process raw (batch)", None, SpanKind.INTERNAL)
    assert {link.context.trace_id for link in whole.links} == {1, 2}
    assert [(int(trace_of(one), 16), int(parent_of(one), 16), one.kind) for one in calls] == [
        (1, 1, SpanKind.CONSUMER),
        (2, 2, SpanKind.CONSUMER),
    ]
    for one, records in zip(calls, (1, 2), strict=True):
        assert one.attributes == {"messaging.system": "kafka", "messaging.batch.message_count": records}
        assert [link.context.span_id for link in one.links] == [whole.context.span_id]
        assert one.start_time == started
        assert one.status.status_code is StatusCode.UNSET


def test_one_call_alone_needs_no_batch(spans: Spans) -> None:
    spans.tracing.batch("INSERT events", "CLIENT", seen_of(7), 1, {}, "Abandoned")
    (one,) = spans.ended
    assert (int(trace_of(one), 16), one.links) == (7, ())
    assert (one.status.status_code, one.status.description) == (StatusCode.ERROR, "Abandoned")
    assert one.attributes == {"db.operation.batch.size": 7}


def test_a_batch_without_sampled_calls_makes_nothing(spans: Spans) -> None:
    spans.tracing.batch("process raw", "CONSUMER", seen_of(1, 2, flags="00"), 1, {})
    spans.tracing.batch("process raw", "CONSUMER", {}, 1, {})
    assert spans.ended == ()


def test_a_batch_of_many_calls_tells_some_and_counts_the_others(spans: Spans) -> None:
    spans.tracing.batch("process raw", "CONSUMER", seen_of(*range(1, MOST_CALLS + 11)), 1, {})
    whole, *calls = spans.ended
    assert len(calls) == len(whole.links) == MOST_CALLS
    assert whole.attributes is not None
    assert whole.attributes["chaukas.calls.left_out"] == 10
    assert spans.dropped("batch") == 10


def test_contexts_are_counted_as_the_records_pass() -> None:
    seen: Seen = {}
    one, two = SAMPLED.encode(), UNSAMPLED.encode()
    headers = [
        [("tenant_id", b"t"), (TRACEPARENT, one)],
        [(TRACEPARENT, two)],
        [],
        [(TRACEPARENT, None)],
        [(TRACEPARENT, one)],
    ]
    records = [SimpleNamespace(headers=found) for found in headers]
    assert list(tracing.noting(records, seen)) == records
    assert seen == {one: 2, two: 1}


class Slow(SpanExporter):
    """Takes nothing until it is let; then says what it is told to."""

    def __init__(self, result: SpanExportResult = SpanExportResult.SUCCESS) -> None:
        self.let, self.asked, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.result = result

    def export(self, spans: object) -> SpanExportResult:
        self.asked.set()
        self.let.wait(60)
        return self.result

    def shutdown(self) -> None:
        self.ended.set()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")  # full batches alone are sent before the end
    made = Slow()
    yield made
    made.let.set()


def test_what_the_queue_does_not_hold_is_dropped_and_counted(slow: Slow) -> None:
    registry = CollectorRegistry()
    queue = BoundedQueue(slow, 512, TracingMetrics(registry))
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    tracer = provider.get_tracer("test")

    def count(name: str, **labels: str) -> float:
        return registry.get_sample_value(f"chaukas_tracing_spans_{name}_total", labels) or 0.0

    for _ in range(512):
        tracer.start_span("x").end()
    assert slow.asked.wait(60)  # a full batch is on its way, and the queue is empty
    for _ in range(512 + 7):
        tracer.start_span("x").end()
    assert count("dropped", reason="queue") == 7
    slow.let.set()
    queue.close(60)
    assert count("exported") == 1024
    assert slow.ended.is_set()


def test_a_refused_batch_is_counted() -> None:
    registry = CollectorRegistry()
    exporter = Slow(SpanExportResult.FAILURE)
    exporter.let.set()
    queue = BoundedQueue(exporter, 512, TracingMetrics(registry))
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    provider.get_tracer("test").start_span("x").end()
    queue.close(60)
    assert registry.get_sample_value("chaukas_tracing_spans_dropped_total", {"reason": "export"}) == 1


def test_the_end_does_not_wait_for_a_collector_that_hangs(slow: Slow) -> None:
    queue = BoundedQueue(slow, 512, TracingMetrics(CollectorRegistry()))
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    provider.get_tracer("test").start_span("x").end()
    queue.close(0.05)
    assert slow.ended.is_set()
    assert not slow.let.is_set()


def test_a_process_has_a_name() -> None:
    settings = load(TracingSettings, otlp_endpoint="http://127.0.0.1:1/")
    made = connect(settings, "processors", 3, CollectorRegistry())
    call = made.call("x", SAMPLED, {})
    assert call is not None
    attributes = call._span.resource.attributes  # type: ignore[attr-defined]
    assert attributes["service.name"] == "chaukas-processors"
    assert "/processors-3/" in attributes["service.instance.id"]
    made.close(0.1)


@pytest.mark.parametrize("endpoint", ["collector:4318", "grpc://collector:4317", "http://", "http://me@host:1"])
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidSettings, match="TRACING_OTLP_ENDPOINT"):
        load(TracingSettings, otlp_endpoint=endpoint)


def test_off_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    assert tracing.start(load(TracingSettings), "gateway", 0, registry) is None
    monkeypatch.setenv("OTEL_SDK_DISABLED", "TRUE")
    on = load(TracingSettings, otlp_endpoint="http://127.0.0.1:1")
    assert tracing.start(on, "gateway", 0, registry) is None
    assert list(registry.collect()) == []


_NOT_INSTALLED = """
import sys
sys.modules["opentelemetry.sdk"] = None
from prometheus_client import CollectorRegistry
from runtime import tracing
from runtime.settings import InvalidSettings, TracingSettings, load
try:
    tracing.start(load(TracingSettings), "gateway", 0, CollectorRegistry())
except InvalidSettings as error:
    print(error)
"""

_OFF = """
import asyncio, sys
from contextlib import suppress
import gateway.__main__, processors.__main__, sink.__main__
from gateway.app import Gateway
from processors.app import build
from runtime.settings import GatewaySettings, KafkaSettings, ProcessorsSettings, SinkSettings, TracingSettings, load
from sink.process import SinkProcess

kafka, tracing = load(KafkaSettings, bootstrap_servers="127.0.0.1:1"), load(TracingSettings)
gateway = Gateway(load(GatewaySettings, grpc_port=0, http_port=0, keys_file=sys.argv[1] + "/keys.json", shutdown_seconds=1.0), kafka, None, tracing)

async def run():
    await gateway.start()
    await gateway.stop()

asyncio.run(run())
assert build(load(ProcessorsSettings), kafka, None, tracing).tracing is None
SinkProcess(load(SinkSettings), kafka, None, tracing)
print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""


def run(program: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env={**environment}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_asked_for_and_not_installed_is_said_with_the_remedy() -> None:
    said = run(_NOT_INSTALLED, TRACING_OTLP_ENDPOINT="http://collector:4318")
    assert said.startswith("TRACING_OTLP_ENDPOINT='http://collector:4318': opentelemetry.sdk.trace is not installed")
    assert "chaukas-gateway[tracing]" in said


def test_off_opentelemetry_is_not_even_imported(tmp_path: object) -> None:
    assert run(_OFF, str(tmp_path)).splitlines()[-1] == "[]"
