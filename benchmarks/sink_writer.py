"""The whole writer, from a real broker to committed offsets, against a bare insert of the same rows into the same tables.

Wall time, because that is what decides how much comes through; CPU per event beside it, of consuming (librdkafka, Python
objects, commits), mapping, and inserting (Arrow, the engine, its materialized view) apart. Merges are stopped in both:
they would be charged to whichever happens to run.
"""

from __future__ import annotations

import gc
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
from prometheus_client import CollectorRegistry

from benchmarks.measure import Result
from benchmarks.sink_records import records
from contracts.dead_letters import SourceRecord
from runtime.health import Readiness
from runtime.kafka import durable_producer, producer_config
from runtime.settings import KafkaSettings, SinkSettings, load
from sink import consumer as kafka_consumer
from sink.batch import Batch, BatchPolicy
from sink.metrics import SinkMetrics
from sink.migrate import migrate
from sink.prepare import Prepared, prepare
from sink.store import Store
from sink.writer import Writer, arrow_insert
from tests.support.broker import Broker

EVENTS = 300_000
PARTITIONS = 4


class _NoLetters:
    def send(self, letters: object) -> None:
        raise AssertionError("a record of the benchmark was refused")


class _Clock:
    """CPU seconds by what they were spent on."""

    def __init__(self) -> None:
        self.mapping = 0.0
        self.consumer_thread = 0.0

    def prepare(self, *arguments: Any) -> Prepared:
        started = time.thread_time()
        try:
            return prepare(*arguments)
        finally:
            self.mapping += time.thread_time() - started


def run() -> Iterator[Result]:
    # As the process does: see sink/__main__.py.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    with tempfile.TemporaryDirectory() as directory:
        broker = Broker.prepare(Path(directory) / "kafka")
        try:
            broker.start()
            kafka = broker.create_topics("bench.", PARTITIONS)
            sources = records(EVENTS, kafka.topics, PARTITIONS)
            _produce(kafka, sources)
            yield from _measure(Path(directory), kafka, sources)
        finally:
            broker.stop()


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


def _measure(directory: Path, kafka: KafkaSettings, sources: list[SourceRecord]) -> Iterator[Result]:
    settings = load(SinkSettings)
    tables = []
    for start in range(0, len(sources), settings.batch_rows):
        batch = Batch()
        for source in sources[start : start + settings.batch_rows]:
            batch.add(source, 0.0)
        tables.append(prepare(batch, kafka.topics).tables[0].rows)
    bare: list[float] = []
    whole: list[float] = []
    spent: list[tuple[float, float, float]] = []
    for number in range(3):
        bare.append(_bare(directory / f"bare{number}", tables))
        seconds, *cpu = _whole(directory / f"whole{number}", kafka, settings, f"bench-{number}", len(sources))
        whole.append(seconds)
        spent.append((cpu[0], cpu[1], cpu[2]))
    best = whole.index(min(whole))
    baseline = min(bare)
    yield Result(
        "sink-writer", "wall time, Kafka to commit", "bare insert_arrow", whole[best], baseline, len(sources), 1.25
    )
    for what, seconds in zip(("consuming", "mapping", "inserting"), spent[best], strict=True):
        yield Result("sink-writer", f"CPU of {what}", "wall of bare insert_arrow", seconds, baseline, len(sources))


def _open(directory: Path) -> Store:
    store = Store.open(f"chdb:///{directory}", readers=1)
    migrate(store.settler)
    store.settler.command("SYSTEM STOP MERGES")
    return store


def _bare(directory: Path, tables: list[pa.Table]) -> float:
    store = _open(directory)
    try:
        insert = arrow_insert(store.writer, 60)
        started = time.perf_counter()
        for table in tables:
            insert("events", table)
        return time.perf_counter() - started
    finally:
        store.close()


def _whole(
    directory: Path, kafka: KafkaSettings, settings: SinkSettings, group: str, count: int
) -> tuple[float, float, float, float]:
    """Wall seconds; CPU seconds of consuming, mapping, inserting. From the first record on, until the last commit."""
    clock = _Clock()
    store = _open(directory)
    metrics = SinkMetrics(CollectorRegistry())
    inserted = 0
    first: list[float] = []

    def insert(table: str, rows: pa.Table) -> None:
        nonlocal inserted
        arrow(table, rows)
        inserted += rows.num_rows

    arrow = arrow_insert(store.writer, 60)
    writer = Writer(insert, _NoLetters(), metrics)
    policy = BatchPolicy(settings.batch_rows, settings.batch_bytes, settings.batch_age_seconds)
    loop = kafka_consumer.build(kafka, group, writer, policy, metrics, Readiness(), revoke_seconds=5)
    thread_cpu: list[float] = []

    def consume() -> None:
        loop._consumer.subscribe([kafka.topics.enriched], on_assign=loop._on_assign, on_revoke=loop._on_revoke)
        while not loop._batch.records:
            loop.turn()
        first.append(time.perf_counter())
        thread_cpu.append(time.thread_time())
        process = time.process_time()
        while sum(loop._committed.values()) < count:
            loop.turn()
        thread_cpu.append(time.thread_time())
        first.append(time.perf_counter())
        thread_cpu.append(time.process_time() - process)
        loop._consumer.close()
        loop._threads.shutdown()

    try:
        with patch("sink.consumer.prepare", clock.prepare):
            thread = threading.Thread(target=consume)
            thread.start()
            thread.join()
    finally:
        store.close()
    assert inserted == count
    consumer_thread, whole = thread_cpu[1] - thread_cpu[0], thread_cpu[2]
    return first[1] - first[0], consumer_thread - clock.mapping, clock.mapping, whole - consumer_thread
