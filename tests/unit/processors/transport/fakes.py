"""A consumer client without Kafka, and messages for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import confluent_kafka
from confluent_kafka import TopicPartition


class FakeMessage:
    def __init__(
        self, offset: int, *, partition: int = 0, topic: str = "raw", value: bytes = b"v", error: Any = None
    ) -> None:
        self._offset, self._partition, self._topic, self._value, self._error = offset, partition, topic, value, error

    def error(self) -> Any:
        return self._error

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return self._value

    def key(self) -> bytes:
        return b"k"

    def headers(self) -> list[tuple[str, bytes]]:
        return []

    def timestamp(self) -> tuple[int, int]:
        return (1, 1_750_000_000_000)

    def __len__(self) -> int:
        return len(self._value)


class FakeError:
    """As a KafkaError that is not fatal."""

    def __init__(self, code: int = confluent_kafka.KafkaError._TRANSPORT, *, fatal: bool = False) -> None:
        self._code, self._fatal = code, fatal

    def fatal(self) -> bool:
        return self._fatal

    def code(self) -> int:
        return self._code

    def str(self) -> str:
        return "made up"


class FakeClient:
    """As ``confluent_kafka.Consumer``: each poll takes one planned step, then there is nothing more."""

    def __init__(self) -> None:
        self.plan: deque[Callable[[], Any]] = deque()
        self.fetched: deque[FakeMessage] = deque()
        self.calls: list[tuple[Any, ...]] = []
        self.paused = threading.Event()
        self.assigned: list[TopicPartition] = []
        self.watermarks: dict[int, int] = {}
        self.committed_offsets: dict[int, int] = {}
        self.commit_error: Exception | None = None
        #: No broker answers.
        self.away = False
        self.on_idle: Callable[[], None] = lambda: None
        self.callbacks: dict[str, Callable[..., Any]] = {}

    def subscribe(
        self,
        topics: list[str],
        on_assign: Callable[..., Any] = print,
        on_revoke: Callable[..., Any] = print,
        on_lost: Callable[..., Any] = print,
    ) -> None:
        self.calls.append(("subscribe", topics))
        self.callbacks = {"on_assign": on_assign, "on_revoke": on_revoke, "on_lost": on_lost}

    # What a test plans:

    def will_assign(self, *partitions: int) -> None:
        def step() -> None:
            new = [TopicPartition("raw", number) for number in partitions]
            self.callbacks["on_assign"](self, new)
            self.assigned += new

        self.plan.append(step)

    def will_revoke(self, *partitions: int, lost: bool = False) -> None:
        def step() -> None:
            gone = [TopicPartition("raw", number) for number in partitions]
            self.callbacks["on_lost" if lost else "on_revoke"](self, gone)
            self.assigned = [tp for tp in self.assigned if tp not in gone]

        self.plan.append(step)

    def will_fetch(self, *messages: FakeMessage) -> None:
        self.plan.append(lambda: self.fetched.extend(messages))

    # What the poller calls:

    def poll(self, timeout: float = -1) -> Any:
        while not self.fetched and self.plan:
            self.plan.popleft()()
        if not self.fetched:
            self.on_idle()
            return None
        return self.fetched.popleft()

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Any]:
        assert timeout == 0, "a positive timeout would be waited out"
        return [self.fetched.popleft() for _ in range(min(num_messages, len(self.fetched)))]

    def assignment(self) -> list[Any]:
        return list(self.assigned)

    def pause(self, partitions: list[Any]) -> None:
        self.calls.append(("pause", [tp.partition for tp in partitions]))
        self.paused.set()

    def resume(self, partitions: list[Any]) -> None:
        self.calls.append(("resume", [tp.partition for tp in partitions]))

    def seek(self, partition: Any) -> None:
        self.calls.append(("seek", partition.partition, partition.offset))

    def commit(self, *, offsets: list[Any], asynchronous: Any) -> Any:
        assert asynchronous is False
        if self.commit_error is not None:
            raise self.commit_error
        self.calls.append(("commit", {tp.partition: tp.offset for tp in offsets}))
        return offsets

    def committed(self, partitions: list[Any], timeout: float = -1) -> list[Any]:
        return [
            TopicPartition(tp.topic, tp.partition, self.committed_offsets.get(tp.partition, -1001)) for tp in partitions
        ]

    def get_watermark_offsets(self, partition: Any, timeout: float = -1, cached: bool = False) -> Any:
        assert cached, "an uncached one asks the broker"
        return (0, self.watermarks.get(partition.partition, -1001))

    def list_topics(self, topic: str, timeout: float = -1) -> Any:
        assert 0 < timeout < 5
        if self.away:
            raise confluent_kafka.KafkaException("planned")

    def close(self) -> None:
        self.calls.append(("close",))
