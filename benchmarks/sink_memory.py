"""Memory of the sink while it stores BENCH_EVENTS events, and what they take on disk.

The consumer's loop, mapping, writer and settling as they run in the process, merges included, on records that are made while
they are polled: each of them once, in sessions of their own, received a millisecond apart. Only Kafka is left out, because a
broker would have to keep them all; what librdkafka fetches ahead (64 MiB) comes on top.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from chaukas.spec.common.v1 import events_pb2 as pb
from confluent_kafka import TopicPartition
from prometheus_client import CollectorRegistry

from benchmarks.measure import Result
from benchmarks.sink_records import records
from contracts import headers as h
from contracts.dead_letters import SourceRecord
from contracts.topics import Topics
from contracts.v1.enrichment_pb2 import Enrichment
from runtime.health import Readiness
from runtime.settings import SinkSettings, load
from sink import garbage
from sink.batch import MIN_AGE_SECONDS, BatchPolicy
from sink.consumer import SinkConsumer
from sink.metrics import SinkMetrics
from sink.migrate import migrate
from sink.settle import Settler
from sink.store import Store
from sink.writer import Writer, arrow_insert

EVENTS = int(os.environ.get("BENCH_EVENTS", "1000000"))
#: Events that are made once and sent again and again under other ids.
TEMPLATES = 20_000
TOPICS = Topics("bench.")
MIB = 1 << 20
SAMPLE_SECONDS = 0.5
SETTLE_SECONDS = 20.0


class _Message:
    """As much of a Kafka message as the sink reads."""

    __slots__ = ("_record",)

    def __init__(self, record: SourceRecord) -> None:
        self._record = record

    def error(self) -> None:
        return None

    def topic(self) -> str:
        return self._record.topic

    def partition(self) -> int:
        return self._record.partition

    def offset(self) -> int:
        return self._record.offset

    def key(self) -> bytes | None:
        return self._record.key

    def value(self) -> bytes | None:
        return self._record.value

    def headers(self) -> list[tuple[str, bytes | None]]:
        return list(self._record.headers)

    def timestamp(self) -> tuple[int, int]:
        return (1, self._record.timestamp_ms)


class _Source:
    """In place of a Kafka consumer: `count` records of one partition, made as they are polled."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.made = 0
        self.committed = 0
        self.raw_bytes = 0
        self._tail = pb.Event()
        templates = records(TEMPLATES, TOPICS, partitions=1)
        self._events = [pb.Event.FromString(record.value or b"") for record in templates]
        self._received_ns = int(dict(templates[0].headers)[h.RECEIVED_AT_NS] or b"")

    def consume(self, most: int, _seconds: float) -> list[_Message]:
        until = min(self.made + most, self.count)
        messages = [_Message(self._record(number)) for number in range(self.made, until)]
        self.made = until
        return messages

    def _record(self, number: int) -> SourceRecord:
        lap, place = divmod(number, TEMPLATES)
        received_ns = self._received_ns + number * 1_000_000
        event = self._events[place]
        event.event_id = (
            f"{number:08x}-{hashlib.md5(number.to_bytes(8, 'big'), usedforsecurity=False).hexdigest()[:27]}"
        )
        event.session_id = f"{event.session_id.partition('/')[0]}/{lap}"
        event.timestamp.FromNanoseconds(received_ns - 5_000_000)
        value = event.SerializeToString()
        digest = hashlib.sha256(value).digest()
        self.raw_bytes += len(value)
        found = Enrichment(
            received_at_ns=received_ns, effective_status=1, content_sha256=digest, canonical_sha256=digest
        )
        found.raw.topic, found.raw.offset = TOPICS.raw, number
        headers = [
            (h.TENANT_ID, b"tenant"),
            (h.PROJECT_ID, b"project"),
            (h.EVENT_ID, event.event_id.encode()),
            (h.RECEIVED_AT_NS, str(received_ns).encode()),
            (h.SCHEMA, h.EVENT_SCHEMA.encode()),
            (h.ENRICHMENT, found.SerializeToString()),
        ]
        return SourceRecord(TOPICS.enriched, 0, number, b"key", value, headers, received_ns // 1_000_000)

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
        del asynchronous
        self.committed = offsets[0].offset

    def get_watermark_offsets(self, _place: TopicPartition, cached: bool) -> tuple[int, int]:
        del cached
        return (0, self.count)

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(TOPICS.enriched, 0)]

    def pause(self, _places: object) -> None:
        """A full loop does not poll."""

    resume = pause


class _NoLetters:
    def send(self, letters: object) -> None:
        raise AssertionError("a record of the benchmark was refused")


def run() -> Iterator[Result]:
    # As the process does: see sink/__main__.py.
    garbage.arrange(writes=True)
    settings = load(SinkSettings)
    source = _Source(EVENTS)
    with tempfile.TemporaryDirectory() as directory:
        store = Store.open(
            f"chdb:///{Path(directory)}", readers=settings.query_clients, memory_bytes=settings.memory_max_bytes
        )
        try:
            migrate(store.settler)
            sizes = _store_all(store, source, settings)
            disk = _disk(store)
        finally:
            store.close()
    early, late = (max(size for _, size in half) for half in _halves(sizes))
    for done, size in sizes[:: max(len(sizes) // 20, 1)]:
        print(f"  {done / 1e6:6.2f}M events  {size // MIB:5} MiB", file=sys.stderr)
    what = f"memory, second half of {EVENTS / 1e6:g}M events ({late // MIB} MiB at most)"
    yield Result("sink-memory", what, f"first half ({early // MIB} MiB)", float(late), float(early), 0, 1.1)
    raw = source.raw_bytes
    for name in ("events", "event_ids"):
        per_event, raw_each = disk[name] / EVENTS, raw / EVENTS
        what = f"{name} on disk ({per_event:.0f} bytes an event)"
        yield Result("sink-memory", what, f"raw protobuf ({raw_each:.0f} bytes)", float(disk[name]), float(raw), 0)


def _store_all(store: Store, source: _Source, settings: SinkSettings) -> list[tuple[int, int]]:
    """(events committed, resident bytes) every half second. Blocks until all are stored."""
    metrics = SinkMetrics(CollectorRegistry())
    writer = Writer(arrow_insert(store.writer, 60), _NoLetters(), metrics)
    policy = BatchPolicy(settings.batch_rows, settings.batch_bytes, settings.batch_age_seconds, MIN_AGE_SECONDS)
    consumer: Any = source
    loop = SinkConsumer(consumer, TOPICS, writer, policy, metrics, Readiness(), revoke_seconds=5)
    process, ended = psutil.Process(), threading.Event()
    sizes: list[tuple[int, int]] = []

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            sizes.append((source.committed, process.memory_info().rss))

    def settle() -> None:
        settler = Settler(store.settler, metrics, margin_seconds=65)
        while not ended.wait(SETTLE_SECONDS):
            settler.settle()
            garbage.collect()

    threads = [threading.Thread(target=job) for job in (sample, settle)]
    for thread in threads:
        thread.start()
    try:
        while source.committed < source.count:
            loop.turn()
    finally:
        ended.set()
        for thread in threads:
            thread.join()
        loop._inserts.close()
    return sizes


def _halves(sizes: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    return [one for one in sizes if one[0] <= EVENTS // 2], [one for one in sizes if one[0] > EVENTS // 2]


def _disk(store: Store) -> Mapping[str, int]:
    """Bytes of the active parts by table, when merges have come to rest (or after a minute)."""
    deadline = time.monotonic() + 60
    while store.settler.query("SELECT count() FROM system.merges").result_rows[0][0] and time.monotonic() < deadline:
        time.sleep(0.5)
    rows = store.settler.query(
        "SELECT table, sum(bytes_on_disk) FROM system.parts WHERE active GROUP BY table"
    ).result_rows
    return {str(name): int(size) for name, size in rows}
