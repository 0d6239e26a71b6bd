"""Workers of the processors as processes, and the raw topic as the gateway would fill it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from confluent_kafka import Consumer, KafkaException, TopicPartition

from processors.intake import RawRecord
from processors.rebuild import raw_record as record_of
from runtime.kafka import durable_producer, producer_config
from runtime.settings import KafkaSettings
from tests.support.raw_records import raw_headers, raw_key
from tests.support.waiting import wait_for

T = TypeVar("T")

ROOT = Path(__file__).parent.parent.parent


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@dataclass
class Worker:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)

    def exit_status(self, seconds: float = 60) -> int:
        return self.process.wait(seconds)


@dataclass
class Workers:
    """A consumer group of workers on topics of its own. Use as a context manager: nothing survives it."""

    kafka: KafkaSettings
    directory: Path
    window: int = 50_000
    group: str = field(default_factory=lambda: f"processors-{uuid.uuid4()}")
    running: list[Worker] = field(default_factory=list)
    clients: list[Consumer] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.running:
            if worker.process.poll() is None:
                worker.kill()
        for client in self.clients:
            client.close()

    def start(self, *, module: str = "processors", **settings: str) -> Worker:
        """A worker more; `module` is what runs as one."""
        port = free_port()
        log = self.directory / f"worker-{len(self.running)}.log"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "PROCESSORS_"))},
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": self.kafka.topic_prefix,
            "PROCESSORS_GROUP": self.group,
            "PROCESSORS_WINDOW_OFFSETS": str(self.window),
            "PROCESSORS_HTTP_PORT": str(port),
            "PROCESSORS_SESSION_SECONDS": "6",
            "PROCESSORS_COMMIT_SECONDS": "0.3",
            **settings,
        }
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", module], cwd=ROOT, env=environment, stdout=out, stderr=out
            )
        worker = Worker(process, port, log)
        self.running.append(worker)
        return worker

    # ---------------------------------------------------------------- topics

    def _client(self) -> Consumer:
        if not self.clients:
            self.clients.append(
                Consumer(
                    {
                        "bootstrap.servers": self.kafka.bootstrap_servers,
                        "group.id": self.group,  # to read its offsets; it never joins
                        "enable.auto.commit": False,
                        "auto.offset.reset": "earliest",
                    }
                )
            )
        return self.clients[0]

    def ends(self, topic: str) -> dict[int, int]:
        """The end offset of each partition."""
        client = self._client()

        def ask() -> dict[int, int]:
            numbers = client.list_topics(topic, timeout=20).topics[topic].partitions
            return {n: client.get_watermark_offsets(TopicPartition(topic, n), timeout=20)[1] for n in numbers}

        return _answer(ask)

    def lag(self) -> int:
        """Raw records the group has not committed."""
        topic = self.kafka.topics.raw
        ends = self.ends(topic)
        partitions = [TopicPartition(topic, number) for number in ends]
        answers = _answer(lambda: self._client().committed(partitions, timeout=20))
        return sum(end - max(0, answer.offset) for end, answer in zip(ends.values(), answers, strict=True))

    def wait_until_done(self, seconds: float = 90) -> None:
        """Until everything in the raw topic is committed; fails at once when a worker ended."""

        def probe() -> bool:
            ended = [worker for worker in self.running[-1:] if worker.process.poll() is not None]
            assert not ended, ended[0].log.read_text()[-3000:]
            return self.lag() == 0

        wait_for("the workers to finish", probe, seconds=seconds, every=0.2)

    def read(self, topic: str) -> list[RawRecord]:
        """Everything in a topic, by partition and offset."""
        client = self._client()
        ends = self.ends(topic)
        left = {number: end for number, end in ends.items() if end}
        client.assign([TopicPartition(topic, number, 0) for number in left])
        found: list[RawRecord] = []
        while left:
            for message in client.consume(5000, 0.2):  # it waits the whole time unless 5000 are there
                assert message.error() is None, message.error()
                found.append(record_of(message))
                number, offset = message.partition(), message.offset()
                assert number is not None
                assert offset is not None
                if offset + 1 >= ends[number]:
                    left.pop(number, None)
        client.unassign()
        return sorted(found, key=lambda record: (record.partition, record.offset))


def _answer(ask: Callable[[], T]) -> T:
    """The broker's answer; a new topic or a broker that has just started has no leader or coordinator at first."""

    def probe() -> list[T]:
        try:
            return [ask()]
        except KafkaException:
            return []

    return wait_for("an answer from Kafka", probe)[0]


class RawTopic:
    """Writes raw records as the gateway does."""

    def __init__(self, kafka: KafkaSettings, *, linger_ms: float = 5) -> None:
        self.topic = kafka.topics.raw
        self.producer = durable_producer(
            producer_config(kafka, max_message_bytes=2**21, delivery_seconds=60, linger_ms=linger_ms)
        )

    def send(self, events: Iterable[Any]) -> None:
        """Durable when it returns."""
        for event in events:
            self.send_bytes(event.SerializeToString(), raw_key(event), raw_headers(event), flush=False)
        self.flush()

    def send_bytes(self, value: bytes | None, key: bytes | None, headers: Any, *, flush: bool = True) -> None:
        while True:
            try:
                self.producer.produce(self.topic, value, key, headers=headers)
                break
            except BufferError:
                self.producer.poll(0.1)
        if flush:
            self.flush()

    def flush(self) -> None:
        assert self.producer.flush(60) == 0
