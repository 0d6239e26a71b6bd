"""How long an event takes from the raw topic to the enriched topic at low rates, what a worker costs when nothing comes, and
what it holds when the brokers take its records slowly.

The baseline of a latency is the raw record itself, read by the same consumer: one hop through the broker instead of two and
a worker. Both are given in microseconds in the last column.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from confluent_kafka import Consumer, TopicPartition

from benchmarks.brokers import running_broker
from benchmarks.measure import Result
from benchmarks.processors_steps import PARTITIONS, stream
from benchmarks.processors_worker import fill
from cli.stack import kafka as local_kafka
from contracts import headers as h
from processors.intake import RawRecord
from runtime.settings import KafkaSettings
from tests.support.broker import Broker
from tests.support.processors import RawTopic, Workers
from tests.support.processors_check import ready
from tests.support.waiting import wait_for

#: Events a second, and for how many seconds.
RATES = ((10, 20), (100, 10), (1000, 10))
IDLE_SECONDS = 15
SLOW_SECONDS = 60
#: At full speed first: windows, queues and the allocator are then as large as they get.
WARM_RECORDS = 40_000
SLOW_BACKLOG = 170_000
#: What the broker takes of each client when it is slow: a fortieth of what a worker produces.
SLOW_BYTES_PER_SECOND = 1_000_000
MIB = 1024 * 1024


def run() -> Iterator[Result]:
    with running_broker() as (broker, directory):
        yield from _latencies(broker.create_topics("latency.", partitions=PARTITIONS), directory)
        yield from _slow_downstream(broker, directory)


def _latencies(kafka: KafkaSettings, directory: Path) -> Iterator[Result]:
    with Workers(kafka, directory) as workers:
        worker = workers.start(PROCESSORS_COMMIT_SECONDS="1")
        wait_for("the worker", lambda: ready(worker), every=0.2)
        process = psutil.Process(worker.process.pid)
        before = _cpu(process)
        threading.Event().wait(IDLE_SECONDS)
        used = (_cpu(process) - before) / IDLE_SECONDS
        yield Result("processors-latency", "idle worker, CPU a second", "one core", used, 1.0, 1, 0.01)
        raw_topic = RawTopic(kafka, linger_ms=0)
        _send(raw_topic, stream(50, seed=1), 50)  # connections, idempotence, caches: what a first second pays
        workers.wait_until_done()
        for rate, seconds in RATES:
            seen = _Seen(kafka)
            seen.start()
            before = _cpu(process)
            sent = _send(raw_topic, stream(rate * seconds, seed=rate), rate)
            used = (_cpu(process) - before) / seconds
            enriched, raw = seen.wait(sent)
            for percent in (50, 99):
                yield Result(
                    "processors-latency",
                    f"{rate}/s: produce to enriched visible, p{percent}",
                    f"raw visible, p{percent}",
                    _percentile(enriched, percent),
                    _percentile(raw, percent),
                    1,
                )
            yield Result("processors-latency", f"{rate}/s: worker's CPU a second", "one core", used, 1.0, 1)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _send(raw: RawTopic, records: list[RawRecord], rate: int) -> dict[bytes, float]:
    """One record every 1/rate seconds; when each was handed to the producer, by event id."""
    sent: dict[bytes, float] = {}
    pause = threading.Event()
    start = time.monotonic()
    for number, record in enumerate(records):
        pause.wait(max(0.0, start + number / rate - time.monotonic()))
        sent.setdefault(dict(record.headers)[h.EVENT_ID] or b"", time.monotonic())
        raw.send_bytes(record.value, record.key, record.headers, flush=False)
        raw.producer.poll(0)
    raw.flush()
    return sent


class _Seen(threading.Thread):
    """When a consumer saw each event first, on the raw and on the enriched topic."""

    def __init__(self, kafka: KafkaSettings) -> None:
        super().__init__(daemon=True)
        self._topics = (kafka.topics.enriched, kafka.topics.raw)
        self._seen: dict[str, dict[bytes, float]] = {topic: {} for topic in self._topics}
        self._stop_it = threading.Event()
        self._client = Consumer(
            {**kafka.client_config(), "group.id": "latency", "enable.auto.commit": False, "fetch.wait.max.ms": 50}
        )
        places = [TopicPartition(topic, number) for topic in self._topics for number in range(PARTITIONS)]
        for place in places:
            place.offset = self._client.get_watermark_offsets(place, timeout=20)[1]
        self._client.assign(places)

    def run(self) -> None:
        while not self._stop_it.is_set():
            message = self._client.poll(0.1)
            if message is not None and message.error() is None:
                headers: dict[str, bytes] = dict(message.headers() or [])  # type: ignore[arg-type]  # as the gateway's
                self._seen[message.topic() or ""].setdefault(headers[h.EVENT_ID], time.monotonic())
        self._client.close()

    def wait(self, sent: dict[bytes, float]) -> tuple[list[float], list[float]]:
        """Seconds of every event to the enriched and to the raw topic; blocks until all were seen."""
        wait_for("all of them", lambda: all(seen.keys() >= sent.keys() for seen in self._seen.values()))
        self._stop_it.set()
        self.join(20)
        enriched, raw = ([seen[key] - at for key, at in sent.items()] for seen in self._seen.values())
        return enriched, raw


def _slow_downstream(broker: Broker, directory: Path) -> Iterator[Result]:
    """Memory of a worker on a backlog while the broker throttles what it takes: highest of the second half of the time against
    highest of the first, after windows and queues have filled at full speed."""
    kafka = broker.create_topics("slow.", partitions=PARTITIONS)
    fill(kafka, SLOW_BACKLOG)
    with Workers(kafka, directory, window=2000) as workers:
        process = psutil.Process(workers.start().process.pid)
        wait_for(
            "windows and queues to fill",
            lambda: sum(workers.ends(kafka.topics.enriched).values()) > WARM_RECORDS,
            every=0.2,
        )
        _throttle(broker)
        sizes: list[int] = []
        pause = threading.Event()
        for _ in range(SLOW_SECONDS * 4):
            sizes.append(process.memory_info().rss)
            pause.wait(0.25)
        assert workers.lag() > 0, "the backlog was too short to be slow"
    early, late = max(sizes[: len(sizes) // 2]), max(sizes[len(sizes) // 2 :])
    print("  MiB every 4 s:", [size // MIB for size in sizes[::16]], file=sys.stderr)
    what = f"slow downstream: memory, second half ({late / MIB:.0f} MiB at most)"
    yield Result("processors-latency", what, f"first half ({early / MIB:.0f} MiB)", float(late), float(early), 1, 1.1)


def _throttle(broker: Broker) -> None:
    command = local_kafka.command(broker.directory, 128)
    tool = [*command[: command.index("kafka.Kafka")], "kafka.admin.ConfigCommand"]
    rest = ["--bootstrap-server", broker.bootstrap_servers, "--alter", "--entity-type", "clients", "--entity-default"]
    quota = ["--add-config", f"producer_byte_rate={SLOW_BYTES_PER_SECOND}"]
    subprocess.run([*tool, *rest, *quota], check=True, capture_output=True, timeout=60)
