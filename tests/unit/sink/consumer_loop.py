"""A broker and a writer that do what the test says, and the consumer's loop between them."""

from __future__ import annotations

import threading
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from prometheus_client import CollectorRegistry

from contracts.dead_letters import SourceRecord
from contracts.v1.dead_letter_pb2 import DeadLetter
from runtime.health import Readiness
from sink.batch import BatchPolicy
from sink.consumer import SinkConsumer
from sink.metrics import SinkMetrics
from sink.prepare import Prepared
from sink.writer import Abandoned
from tests.support.events import event
from tests.support.sink_records import RECEIVED_NS, TOPICS, enriched_record
from tests.support.waiting import wait_for

POLICY = BatchPolicy(max_rows=2, max_bytes=1 << 20, max_age_seconds=10.0)


class FakeMessage:
    def __init__(self, record: SourceRecord | None, error: KafkaError | None = None) -> None:
        self._record = record
        self._error = error

    def error(self) -> KafkaError | None:
        return self._error

    def timestamp(self) -> tuple[int, int]:
        return (1, self._record.timestamp_ms if self._record else 0)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._record, name)
        return lambda: list(value) if name == "headers" else value


class FakeConsumer:
    def __init__(self) -> None:
        self.polls: list[list[FakeMessage]] = []
        self.commits: list[dict[tuple[str, int], int]] = []
        self.group: dict[tuple[str, int], tuple[int, str]] = {}
        self.refusals: list[KafkaException] = []
        self._paused = False
        self.consumed = 0
        self.callbacks: dict[str, Any] = {}
        self.closed = False

    def consume(self, _most: int, _seconds: float) -> list[FakeMessage]:
        self.consumed += 1
        if self._paused or not self.polls:
            return []
        return self.polls.pop(0)

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert not asynchronous
        if self.refusals:
            raise self.refusals.pop(0)
        self.commits.append({(one.topic, one.partition): one.offset for one in offsets})
        self.group |= {(one.topic, one.partition): (one.offset, one.metadata or "") for one in offsets}

    def committed(self, partitions: list[TopicPartition], _seconds: float) -> list[TopicPartition]:
        return [
            TopicPartition(one.topic, one.partition, *self.group.get((one.topic, one.partition), (-1001, "")))
            for one in partitions
        ]

    def is_paused(self) -> bool:
        return self._paused

    def assignment(self) -> list[TopicPartition]:
        return [TopicPartition(TOPICS.enriched, 0)]

    def pause(self, _partitions: Any) -> None:
        self._paused = True

    def resume(self, _partitions: Any) -> None:
        self._paused = False

    def get_watermark_offsets(self, _partition: TopicPartition, cached: bool) -> tuple[int, int]:
        assert cached
        return (0, 100)

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        self.topics = topics
        self.callbacks = callbacks

    def close(self) -> None:
        self.closed = True


class FakeWriter:
    """Holds every batch until the test lets it go."""

    def __init__(self) -> None:
        self.problem = ""
        self.begun: list[Prepared] = []
        self.go = threading.Semaphore(0)
        self.error: Exception | None = None

    def store(self, prepared: Prepared, abandon: threading.Event) -> list[DeadLetter]:
        self.begun.append(prepared)
        while not self.go.acquire(timeout=0.01):
            if abandon.is_set():
                raise Abandoned
        if self.error is not None:
            raise self.error
        return []


class Loop:
    def __init__(self) -> None:
        self.consumer = FakeConsumer()
        self.writer = FakeWriter()
        self.metrics = SinkMetrics(CollectorRegistry())
        self.readiness = Readiness()
        self.now = 0.0
        self.loop = SinkConsumer(
            self.consumer,  # type: ignore[arg-type]
            TOPICS,
            self.writer,  # type: ignore[arg-type]
            POLICY,
            self.metrics,
            self.readiness,
            revoke_seconds=0.05,
            clock=lambda: self.now,
            wall_ns=lambda: RECEIVED_NS + 3 * 10**9,
        )

    def poll(self, *offsets: int, partition: int = 0) -> None:
        records = [enriched_record(event(event_id=str(one)), offset=one, partition=partition) for one in offsets]
        self.consumer.polls.append([FakeMessage(record) for record in records])

    def stored(self) -> None:
        """Let the running insert end, and the loop see it."""
        self.writer.go.release()
        running = self.loop._inserts.running
        assert running is not None
        wait_for("the insert", running.future.done)

    def close(self) -> None:
        self.loop._inserts.close()
