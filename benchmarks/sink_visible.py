"""How long after its acknowledgement by Kafka an event shows in QueryEvents, at half of what the sink sustains.

The sink as its own process (`--role all`) on a real broker. What it sustains: LOAD events are
offered as fast as they are stored, at most AHEAD of them unstored; then it is waited until everything is stored and the merges
that the load left behind are done. The events by all of that time are the rate: a load that goes on for ever leaves no merge
for later. Then half of that rate for SECONDS, evenly, with a probe every 50 ms: an event of a session of its own that a client
asks QueryEvents for, ten times a second, until it is there. Everything shares one machine: broker, sink, producer and the asking client.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import psutil
from chaukas.spec.common.v1 import query_pb2
from chaukas.spec.server.v1 import server_pb2, server_pb2_grpc
from confluent_kafka import Producer

from benchmarks.brokers import running_broker
from benchmarks.measure import Result
from benchmarks.sink_records import records
from contracts.dead_letters import SourceRecord
from contracts.identity import IDENTITY_METADATA, Identity, Scope
from runtime.kafka import durable_producer, producer_config
from runtime.settings import KafkaSettings, SinkSettings, load
from tests.support.events import event
from tests.support.sink_process import SinkUnderTest
from tests.support.sink_records import RECEIVED_NS, enriched_record
from tests.support.waiting import wait_for

PARTITIONS = 4
LOAD, SECONDS = 400_000, 25
#: Two full batches.
AHEAD = 100_000
#: How often the offer looks at what is stored, seconds.
LOOK_SECONDS = 0.05
#: Merges are done when the sink uses less than this share of a core for REST_SECONDS.
REST_SHARE, REST_SECONDS, REST_MOST_SECONDS = 0.15, 3.0, 120.0
PROBE_SECONDS, TICK_SECONDS, ASK_SECONDS = 0.05, 0.01, 0.1
GOAL_SECONDS = 2.0
TENANT = "tenant"


def run() -> Iterator[Result]:
    with running_broker() as (broker, directory):
        age = str(load(SinkSettings).batch_age_seconds)  # the product's, not that of tests
        environment = {"SINK_GRPC_PORT": "0", "SINK_BATCH_AGE_SECONDS": age}
        sink = SinkUnderTest(broker.create_topics("visible.", PARTITIONS), directory, environment)
        try:
            yield from _measure(sink)
        finally:
            sink.close()


def _measure(sink: SinkUnderTest) -> Iterator[Result]:
    topics = sink.kafka.topics
    producer = _Sender(sink.kafka)
    stream = records(LOAD, topics, PARTITIONS, seed=1)
    sink.start(role="all")
    wait_for("the sink to be ready", lambda: sink.ready().get("status") == "ready")
    rate, merging = _sustained(producer, stream, sink)
    half = int(rate / 2)
    stream = records(half * SECONDS, topics, PARTITIONS, seed=2)
    asking = _Asking(sink.grpc_port())
    asking.start()
    cpu, since = _cpu_seconds(sink), time.monotonic()
    inserts = sink.metric("sink_insert_seconds_count"), sink.metric("sink_insert_seconds_sum")
    acknowledged = _offer(producer, stream, half, sink)
    seen = asking.wait(set(acknowledged))
    cores = (_cpu_seconds(sink) - cpu) / (time.monotonic() - since)
    count = sink.metric("sink_insert_seconds_count") - inserts[0]
    took = (sink.metric("sink_insert_seconds_sum") - inserts[1]) / count
    delays = sorted(seen[one] - at for one, at in acknowledged.items())
    print(
        f"  {rate:.0f} events/s sustained, {merging:.0%} of the time merging only; at {half} events/s {len(delays)} probes, "
        f"{cores:.2f} cores of the sink, {count:.0f} inserts of {len(stream) / count:.0f} events, {took:.2f} s each",
        file=sys.stderr,
    )
    for percent in (50, 99):
        delay = statistics.quantiles(delays, n=100, method="inclusive")[percent - 1]
        what = f"ack to visible at half of the load, p{percent} ({delay:.2f} s)"
        goal = 1.0 if percent == 99 else None
        yield Result("sink-visible", what, f"{GOAL_SECONDS:.0f} s", delay, GOAL_SECONDS, 0, goal)


class _Sender:
    """A durable producer that records when each probe was acknowledged."""

    def __init__(self, kafka: KafkaSettings) -> None:
        config = producer_config(kafka, max_message_bytes=4 << 20, delivery_seconds=60, linger_ms=5)
        self._producer: Producer = durable_producer(config)

    def send(self, record: SourceRecord, on_delivery: Callable[..., None] | None = None) -> None:
        headers = list[tuple[str, str | bytes | None]](record.headers)
        options: dict[str, Any] = {} if on_delivery is None else {"on_delivery": on_delivery}
        while True:
            try:
                self._producer.produce(
                    record.topic, record.value, record.key, record.partition, headers=headers, **options
                )
                return
            except BufferError:
                self._producer.poll(0.1)

    def poll(self) -> None:
        self._producer.poll(0)

    def flush(self) -> None:
        assert self._producer.flush(60) == 0


def _sustained(producer: _Sender, stream: list[SourceRecord], sink: SinkUnderTest) -> tuple[float, float]:
    """Events a second, all merges included; and the part of the time that was only merging."""
    started, sent = time.monotonic(), 0
    while sent < len(stream):
        room = int(sink.metric("sink_rows_stored_total")) + AHEAD - sent
        for record in stream[sent : sent + room]:
            producer.send(record)
        sent += len(stream[sent : sent + room])
        producer.poll()
        time.sleep(LOOK_SECONDS)
    producer.flush()
    wait_for("the load to be stored", lambda: sink.metric("sink_rows_stored_total") >= len(stream))
    stored = time.monotonic()
    at_rest = _at_rest(sink)
    return len(stream) / (at_rest - started), (at_rest - stored) / (at_rest - started)


def _at_rest(sink: SinkUnderTest) -> float:
    """When the sink began to do nothing; blocks until it has for REST_SECONDS, at most REST_MOST_SECONDS."""
    assert sink.process is not None
    process = psutil.Process(sink.process.pid)
    deadline = time.monotonic() + REST_MOST_SECONDS
    while True:
        before, since = process.cpu_times(), time.monotonic()
        time.sleep(REST_SECONDS)
        after = process.cpu_times()
        spent = after.user + after.system - before.user - before.system
        if spent < REST_SHARE * REST_SECONDS:
            return since
        assert since < deadline, "the sink does not come to rest"


def _cpu_seconds(sink: SinkUnderTest) -> float:
    assert sink.process is not None
    times = psutil.Process(sink.process.pid).cpu_times()
    return float(times.user + times.system)


def _offer(producer: _Sender, stream: list[SourceRecord], rate: int, sink: SinkUnderTest) -> dict[str, float]:
    """Send `stream` at `rate` a second, with probes among it; when each probe was acknowledged, by event id."""
    acknowledged: dict[str, float] = {}
    start, sent, probes = time.monotonic(), 0, 0
    while sent < len(stream):
        passed = time.monotonic() - start
        until = min(int(passed * rate), len(stream))
        for record in stream[sent:until]:
            producer.send(record)
        sent = until
        if passed >= probes * PROBE_SECONDS:
            name = f"probe-{probes}"
            made = event(tenant=TENANT, project="project", session="probes", event_id=name)
            made.timestamp.FromNanoseconds(RECEIVED_NS + probes)
            record = enriched_record(
                made, offset=1_000_000_000 + probes, received_ns=RECEIVED_NS + probes, topics=sink.kafka.topics
            )
            producer.send(record, _acknowledge(name, acknowledged))
            probes += 1
        producer.poll()
        time.sleep(TICK_SECONDS)
    producer.flush()
    return acknowledged


def _acknowledge(name: str, acknowledged: dict[str, float]) -> Callable[..., None]:
    def report(error: object, _message: object) -> None:
        assert error is None, error
        acknowledged[name] = time.monotonic()

    return report


class _Asking(threading.Thread):
    """Asks QueryEvents for the newest probes and keeps when it saw each of them first."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._seen: dict[str, float] = {}
        self._stop_it = threading.Event()

    def run(self) -> None:
        metadata = ((IDENTITY_METADATA, Identity(TENANT, None, frozenset({Scope.QUERY})).to_metadata()),)
        query = query_pb2.QueryRequest(page_size=1000)
        query.filter.session_id = "probes"
        request = server_pb2.QueryEventsRequest(query=query)
        with grpc.insecure_channel(f"127.0.0.1:{self._port}") as channel:
            stub = server_pb2_grpc.ChaukasServerServiceStub(channel)
            while not self._stop_it.wait(ASK_SECONDS):
                page = stub.QueryEvents(request, metadata=metadata, timeout=30)
                now = time.monotonic()
                for one in page.response.events:
                    self._seen.setdefault(one.event_id, now)

    def wait(self, probes: set[str]) -> dict[str, float]:
        """When each of `probes` was seen; blocks until all were."""
        wait_for("all probes to be seen", lambda: self._seen.keys() >= probes)
        self._stop_it.set()
        self.join(30)
        return self._seen
