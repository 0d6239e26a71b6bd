"""A producer that tests steer: it reports on records when told to, with the error it is told."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contracts.identity import Identity, Scope


@dataclass(frozen=True)
class KafkaProblem:
    """What the code reads of a ``KafkaError``."""

    code: str
    is_fatal: bool = False

    def name(self) -> str:
        return self.code

    def fatal(self) -> bool:
        return self.is_fatal


@dataclass(frozen=True)
class Record:
    topic: str
    value: bytes
    key: str
    headers: dict[str, Any]
    timestamp: int
    on_delivery: Any


class FakeProducer:
    """`auto`: every record is confirmed at the next poll."""

    def __init__(self, config: Mapping[str, Any], *, auto: bool = True) -> None:
        self.config = config
        self.auto = auto
        self.records: list[Record] = []
        self.room = 1_000_000
        self.refusal: Exception | None = None
        self.purged = threading.Event()
        #: Threads.
        self.polled_by: set[int] = set()
        #: Raised by the next poll.
        self.poll_fails: Exception | None = None
        self.flushing = threading.Event()
        #: While it is not set, flush waits before it takes the reports that are there.
        self.flush_gate = threading.Event()
        self.flush_gate.set()
        self._reports: queue.Queue[tuple[Any, KafkaProblem | None]] = queue.Queue()

    def produce(
        self,
        topic: str,
        value: bytes,
        key: str,
        partition: int,
        callback: Any,
        on_delivery: None,
        timestamp: int,
        headers: dict[str, Any],
    ) -> None:
        if self.refusal is not None:
            raise self.refusal
        if len(self.records) >= self.room:
            raise BufferError
        assert partition == -1  # the key decides
        record = Record(topic, value, key, headers, timestamp, callback)
        self.records.append(record)
        if self.auto:
            self.report(record)

    def report(self, record: Record, problem: KafkaProblem | None = None) -> None:
        self._reports.put((record.on_delivery, problem))

    def report_all(self, problem: KafkaProblem | None = None) -> None:
        for record in self.records:
            self.report(record, problem)

    def take(self, record: Record) -> None:
        """Its report is taken now, on this thread."""
        record.on_delivery(None, None)

    def poll(self, timeout: float) -> int:
        self.polled_by.add(threading.get_ident())
        if self.poll_fails is not None:
            error, self.poll_fails = self.poll_fails, None
            raise error
        try:
            report, problem = self._reports.get(timeout=timeout)
        except queue.Empty:
            return 0
        report(problem, None)
        return 1

    def flush(self, timeout: float) -> int:
        self.flushing.set()
        self.flush_gate.wait(timeout)
        while not self._reports.empty():
            self.poll(0)
        return 0

    def purge(self) -> None:
        self.report_all(KafkaProblem("_PURGE_QUEUE"))
        self.purged.set()

    def list_topics(self, *, timeout: float) -> Any:
        raise NotImplementedError


def identity(tenant: str = "t", projects: frozenset[str] | None = None) -> Identity:
    return Identity(tenant, projects, frozenset(Scope), "key")
