"""Ten times of what the system behind the gateway takes: what it holds, what it refuses and how, and what it still gets done.

Kafka's side is the limit, made by a proxy that lets so many bytes a second through; the callers are many, of both doors, and
do not wait when they are refused. Every acknowledged batch is looked for in the raw topic afterwards.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import httpx
import psutil
from confluent_kafka import Consumer, TopicPartition
from rich.console import Console
from rich.table import Table

from benchmarks.brokers import running_broker
from benchmarks.gateway_load import Plan
from benchmarks.load import processes
from benchmarks.measure import Result
from contracts import headers as h
from runtime.settings import KafkaSettings
from tests.support.fault_proxy import slow

MIB = 1024 * 1024
TENANT = "overload"
NAME = "gateway-overload"
#: What Kafka's side takes.
KAFKA_BYTES_PER_SECOND = 6 * MIB
BOUND_BYTES = 32 * MIB
EVENTS = 200
NORMAL_SECONDS, OVERLOAD_SECONDS, SAMPLE_SECONDS = 10.0, 20.0, 0.25
#: Callers of each door.
NORMAL_CALLERS, OVERLOAD_CALLERS = 15, 200
FACTOR = 10
#: Points of the curve that is printed.
POINTS = 12


@dataclass(frozen=True)
class Sample:
    seconds: float
    rss_bytes: float
    inflight_bytes: float
    refused: float


class Sampler(threading.Thread):
    """Memory and bytes in flight, as an operator's monitoring sees them: by ``/metrics``, which answers under load too."""

    def __init__(self, pid: int, url: str) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._http = httpx.Client(base_url=url, timeout=10)
        self._over = threading.Event()
        self.samples: list[Sample] = []

    def run(self) -> None:
        start = time.monotonic()
        while not self._over.wait(SAMPLE_SECONDS):
            text = self._http.get("/metrics").text
            values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("gateway_"))
            self.samples.append(
                Sample(
                    time.monotonic() - start,
                    self._process.memory_info().rss,
                    float(values["gateway_inflight_bytes"]),
                    float(values["gateway_overloaded_total"]),
                )
            )

    def stop(self) -> list[Sample]:
        self._over.set()
        self.join(20)
        return self.samples


def run() -> Iterator[Result]:
    with running_broker(["gateway"]) as (broker, directory):
        direct = broker.create_topics("overload.", partitions=8)
        proxied = broker.settings("overload.", through="gateway")
        bound = {"GATEWAY_INFLIGHT_MAX_BYTES": str(BOUND_BYTES)}
        with processes.gateway(proxied, directory, tenant_id=TENANT, environment=bound) as gateway:
            broker.proxies["gateway"].set(up=slow(bytes_per_second=KAFKA_BYTES_PER_SECOND))
            yield from _measure(gateway, direct)


def _measure(gateway: processes.Target, kafka: KafkaSettings) -> Iterator[Result]:
    idle, ports, key = gateway.rss_bytes(), (gateway.ports["grpc"], gateway.ports["http"]), gateway.key
    plan = Plan(*ports, key, TENANT, NORMAL_SECONDS, NORMAL_CALLERS, 0, EVENTS, seed=1)
    normal = _load(plan)
    rate = len(normal["accepted"]) / normal["seconds"]
    sampler = Sampler(gateway.pid, f"http://127.0.0.1:{ports[1]}")
    sampler.start()
    plan = Plan(*ports, key, TENANT, OVERLOAD_SECONDS, OVERLOAD_CALLERS, FACTOR * rate, EVENTS, seed=2)
    overload = _load(plan)
    samples = sampler.stop()
    overload_rate = len(overload["accepted"]) / overload["seconds"]
    offered_rate = overload["offered"] / OVERLOAD_SECONDS
    missing, unasked = _compare(kafka, normal["accepted"] + overload["accepted"])
    _print_curve(samples, idle)
    if overload["not_hinted"]:
        Console(stderr=True).print(Counter(overload["not_hinted"]).most_common(5))

    def result(what: str, baseline: str, measured: float, base: float, goal: float | None = None) -> Result:
        return Result(NAME, what, baseline, measured, base, 1, goal)

    peak = max(sample.rss_bytes for sample in samples) - idle
    held = max(sample.inflight_bytes for sample in samples)
    refused = sum(overload["refused"].values())
    yield result("batches offered a second", "batches accepted a second at 1x", offered_rate, rate)
    yield result("memory above idle, peak", "bound of bytes in flight", peak, BOUND_BYTES, 4.0)
    yield result("bytes in flight, peak", "bound of bytes in flight", held, BOUND_BYTES, 1.0)
    yield result("batches refused", "batches offered", refused, overload["offered"])
    yield result("refusals not retriable, hinted and safe", "1", len(overload["not_hinted"]), 1, 0.0)
    yield result("acknowledged events not in the raw topic", "1", missing, 1, 0.0)
    yield result(
        "events in the raw topic whose batch was not acknowledged", "events accepted", unasked, _events(overload)
    )
    yield result("goodput at 1x", "goodput at 10x", rate, overload_rate, 1.2)


def _events(tally: dict[str, Any]) -> int:
    return len(tally["accepted"]) * EVENTS


def _load(plan: Plan) -> dict[str, Any]:
    """What its callers saw: a Tally."""
    command = [sys.executable, "-m", "benchmarks.gateway_load"]
    done = subprocess.run(
        command, input=json.dumps(asdict(plan)).encode(), stdout=subprocess.PIPE, check=True, timeout=120
    )
    tally: dict[str, Any] = json.loads(done.stdout)
    return tally


def _compare(kafka: KafkaSettings, accepted: list[str]) -> tuple[int, int]:
    """How many acknowledged events the raw topic lacks, and how many it holds beyond them."""
    consumer = Consumer({**kafka.client_config(), "group.id": "overload", "enable.auto.commit": False})
    topic = kafka.topics.raw
    partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
    places = [TopicPartition(topic, number, 0) for number in partitions]
    total = sum(consumer.get_watermark_offsets(place, timeout=20)[1] for place in places)
    consumer.assign(places)
    found: Counter[str] = Counter()
    while found.total() < total:
        for message in consumer.consume(10_000, timeout=5):
            headers: dict[str, Any] = dict(message.headers() or [])
            found[headers[h.BATCH_ID].decode()] += 1
    consumer.close()
    wanted = set(accepted)
    missing = sum(max(0, EVENTS - found[batch]) for batch in wanted)
    beyond = sum(count for batch, count in found.items() if batch not in wanted)
    return missing, beyond


def _print_curve(samples: list[Sample], idle: float) -> None:
    table = Table(
        title=f"Overload: bound {BOUND_BYTES // MIB} MiB; memory above the idle process's {idle / MIB:.0f} MiB"
    )
    for column in ("seconds", "bytes in flight / bound", "memory above idle / bound", "refused so far"):
        table.add_column(column, justify="right")
    for sample in samples[:: max(1, len(samples) // POINTS)]:
        table.add_row(
            f"{sample.seconds:.1f}",
            f"{sample.inflight_bytes / BOUND_BYTES:.2f}",
            f"{(sample.rss_bytes - idle) / BOUND_BYTES:.2f}",
            f"{sample.refused:.0f}",
        )
    Console().print(table)
