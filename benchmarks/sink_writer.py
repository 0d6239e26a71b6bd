"""The whole writer, from a real broker to committed offsets, against a bare insert of the same rows into the same tables.

Wall time, because that is what decides how much comes through; CPU per event beside it: of consuming (Python objects, commits),
mapping, inserting (Arrow, the engine, its materialized view), librdkafka's own threads and the broker. Their sum, spread over
the cores, is the floor: no order of work is faster on this machine. How much of the time an insert ran says how far the order of
work is from that. Merges are stopped in both: they would be charged to whichever happens to run.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import pyarrow as pa
from prometheus_client import CollectorRegistry

from benchmarks.brokers import running_broker
from benchmarks.measure import Result
from benchmarks.sink_records import records
from contracts.dead_letters import SourceRecord
from runtime.health import Readiness
from runtime.kafka import durable_producer, producer_config
from runtime.settings import KafkaSettings, SinkSettings, load
from sink import consumer as kafka_consumer
from sink import garbage
from sink.batch import MIN_AGE_SECONDS, Batch, BatchPolicy
from sink.metrics import SinkMetrics
from sink.migrate import migrate
from sink.prepare import Prepared, prepare
from sink.store import Store
from sink.writer import Writer, arrow_insert

EVENTS = 300_000
PARTITIONS = 4
ROUNDS = 3


class _NoLetters:
    def send(self, letters: object) -> None:
        raise AssertionError("a record of the benchmark was refused")


@dataclass(frozen=True, slots=True)
class _Spent:
    """Of one round, in seconds: on the clock, and CPU."""

    wall: float
    #: On the clock, for as many events as all, at the rate between the ends of the first insert and the last.
    steady: float
    #: On the clock, from the first insert on: while an insert ran, and until the last ended.
    inserting_wall: float
    inserts_wall: float
    consuming: float
    mapping: float
    inserting: float
    librdkafka: float
    broker: float

    @property
    def floor(self) -> float:
        """On the clock, were every core busy all the time."""
        cores = len(os.sched_getaffinity(0))
        return (self.consuming + self.mapping + self.inserting + self.librdkafka + self.broker) / cores


class _Clock:
    """CPU seconds of mapping."""

    def __init__(self) -> None:
        self.mapping = 0.0

    def prepare(self, *arguments: Any) -> Prepared:
        started = time.thread_time()
        try:
            return prepare(*arguments)
        finally:
            self.mapping += time.thread_time() - started


def _cpu_of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _cpu_of_librdkafka() -> float:
    """CPU seconds of the threads it named itself, in this process."""
    total = 0.0
    for thread in psutil.Process().threads():
        try:
            name = Path(f"/proc/self/task/{thread.id}/comm").read_text()
        except OSError:  # it has ended
            continue
        if name.startswith("rdk:"):
            total += thread.user_time + thread.system_time
    return total


def run() -> Iterator[Result]:
    # As the process does: see sink/__main__.py.
    garbage.arrange(writes=True)
    with running_broker() as (broker, directory):
        kafka = broker.create_topics("bench.", PARTITIONS)
        sources = records(EVENTS, kafka.topics, PARTITIONS)
        _produce(kafka, sources)
        assert broker.process is not None
        yield from _measure(directory, kafka, sources, psutil.Process(broker.process.pid))


def _produce(kafka: KafkaSettings, sources: list[SourceRecord]) -> None:
    producer = durable_producer(producer_config(kafka, max_message_bytes=4 << 20, delivery_seconds=60, linger_ms=20))
    for source in sources:
        headers = list[tuple[str, str | bytes | None]](source.headers)
        while True:
            try:
                producer.produce(
                    source.topic, value=source.value, key=source.key, partition=source.partition, headers=headers
                )
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(60) == 0


def _measure(
    directory: Path, kafka: KafkaSettings, sources: list[SourceRecord], broker: psutil.Process
) -> Iterator[Result]:
    settings = load(SinkSettings)
    tables = []
    for start in range(0, len(sources), settings.batch_rows):
        batch = Batch()
        for source in sources[start : start + settings.batch_rows]:
            batch.add(source, 0.0)
        tables.append(prepare(batch, kafka.topics).tables[0].rows)
    bare: list[tuple[float, float]] = []
    whole: list[_Spent] = []
    for number in range(ROUNDS):
        bare.append(bare_insert(directory / f"bare{number}", tables))
        whole.append(_whole(directory / f"whole{number}", kafka, settings, f"bench-{number}", len(sources), broker))
    best, (baseline, bare_cpu) = min(whole, key=lambda spent: spent.wall), min(bare)
    ran = best.inserting_wall / best.inserts_wall
    what = f"wall time, Kafka to commit (an insert ran {ran:.0%} of the time from the first to the last)"
    yield Result("sink-writer", what, "bare insert_arrow", best.wall, baseline, len(sources), 1.25)
    steady = "the same without its start: from the first insert's end to the last's"
    yield Result("sink-writer", steady, "bare insert_arrow", best.steady, baseline, len(sources))
    floor = "floor: all CPU spread over the cores, on the clock"
    yield Result("sink-writer", floor, "bare insert_arrow", best.floor, baseline, len(sources))
    for what, seconds in (
        ("consuming", best.consuming),
        ("mapping", best.mapping),
        ("inserting", best.inserting),
        ("librdkafka's threads", best.librdkafka),
        ("the broker", best.broker),
        ("the bare insert", bare_cpu),
    ):
        yield Result("sink-writer", f"CPU of {what}", "wall of bare insert_arrow", seconds, baseline, len(sources))


def _open(directory: Path) -> Store:
    store = Store.open(f"chdb:///{directory}", readers=1)
    migrate(store.settler)
    store.settler.command("SYSTEM STOP MERGES")
    return store


def bare_insert(directory: Path, tables: list[pa.Table]) -> tuple[float, float]:
    """Seconds on the clock, and of CPU."""
    store = _open(directory)
    try:
        insert = arrow_insert(store.writer, 60)
        started, cpu = time.perf_counter(), time.process_time()
        for table in tables:
            insert("events", table)
        return time.perf_counter() - started, time.process_time() - cpu
    finally:
        store.close()


def _whole(
    directory: Path, kafka: KafkaSettings, settings: SinkSettings, group: str, count: int, broker: psutil.Process
) -> _Spent:
    """From the first record on, until the last commit."""
    clock = _Clock()
    store = _open(directory)
    metrics = SinkMetrics(CollectorRegistry())
    inserts: list[tuple[float, float, int]] = []

    def insert(table: str, rows: pa.Table) -> None:
        started = time.perf_counter()
        arrow(table, rows)
        inserts.append((started, time.perf_counter(), rows.num_rows))

    arrow = arrow_insert(store.writer, 60)
    writer = Writer(insert, _NoLetters(), metrics)
    loop = kafka_consumer.build(
        kafka,
        group,
        writer,
        BatchPolicy(settings.batch_rows, settings.batch_bytes, settings.batch_age_seconds, MIN_AGE_SECONDS),
        metrics,
        Readiness(),
        revoke_seconds=5,
    )
    marks: list[tuple[float, ...]] = []

    def mark() -> None:
        cpu = time.process_time()
        marks.append((time.perf_counter(), time.thread_time(), cpu, _cpu_of_librdkafka(), _cpu_of(broker)))

    def consume() -> None:
        loop._consumer.subscribe([kafka.topics.enriched], on_assign=loop._on_assign, on_revoke=loop._on_revoke)
        while not loop._batch.records:
            loop.turn()
        mark()
        while sum(loop._offsets._committed.values()) < count:
            loop.turn()
        mark()
        loop._consumer.close()
        loop._inserts.close()

    try:
        with patch("sink.ahead.prepare", clock.prepare):
            thread = threading.Thread(target=consume)
            thread.start()
            thread.join()
    finally:
        store.close()
    assert sum(rows for _, _, rows in inserts) == count
    wall, thread_cpu, process, librdkafka, broker_cpu = (after - before for before, after in zip(*marks, strict=True))
    return _Spent(
        wall,
        (inserts[-1][1] - inserts[0][1]) * count / (count - inserts[0][2]),
        sum(end - start for start, end, _ in inserts),
        inserts[-1][1] - inserts[0][0],
        thread_cpu - clock.mapping,
        clock.mapping,
        process - thread_cpu - librdkafka,
        librdkafka,
        broker_cpu,
    )
