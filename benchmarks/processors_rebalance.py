"""How long a partition stands still when workers join, leave and are killed, with full windows of the default size.

Two partitions, each with 2W records behind it, and steady traffic in both. A pause is the longest time between two records of
a partition on the enriched topic. The partition that moves has the longer one: its window is read back. The other one shares
the interpreter with that.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator

from confluent_kafka import Consumer, TopicPartition

from benchmarks.brokers import running_broker
from benchmarks.measure import Result
from benchmarks.processors_steps import stream
from contracts import headers as h
from contracts.v1.enrichment_pb2 import Enrichment
from processors.intake import RawRecord
from runtime.settings import KafkaSettings
from tests.support.processors import RawTopic, Worker, Workers
from tests.support.waiting import wait_for

PARTITIONS = 2
WINDOW = 50_000
#: Of each partition.
EVENTS_PER_SECOND = 100
SESSION_SECONDS = 6


def run() -> Iterator[Result]:
    with running_broker() as (broker, directory):
        kafka = broker.create_topics("rebalance.", partitions=PARTITIONS)
        live = _fill(kafka)
        with Workers(kafka, directory, WINDOW) as workers:
            yield from _pauses(workers, live)


def _fill(kafka: KafkaSettings) -> list[RawRecord]:
    """2W records in each partition, and as many that are not sent yet."""
    records = stream(2 * PARTITIONS * WINDOW + 20_000)
    raw = RawTopic(kafka)
    for number, record in enumerate(records[: 2 * PARTITIONS * WINDOW]):
        _send(raw, record, number)
    raw.flush()
    return records[2 * PARTITIONS * WINDOW :]


def _send(raw: RawTopic, record: RawRecord, number: int) -> None:
    """Into the partitions in turn: sessions are not kept together, which only makes the windows' misses more."""
    while True:
        try:
            raw.producer.produce(
                raw.topic, record.value, record.key, partition=number % PARTITIONS, headers=[*record.headers]
            )
            return
        except BufferError:
            raw.producer.poll(0.1)


def _pauses(workers: Workers, live: list[RawRecord]) -> Iterator[Result]:
    first = workers.start(PROCESSORS_SESSION_SECONDS=str(SESSION_SECONDS))
    workers.wait_until_done(seconds=300)
    traffic = _Traffic(workers.kafka, live)
    traffic.start()
    joined: list[Worker] = []
    try:
        yield _result("nothing happens", *traffic.pauses(lambda: None))
        yield _result("a worker joins", *traffic.pauses(lambda: joined.append(_join(workers))))
        yield _result("it leaves (SIGTERM)", *traffic.pauses(lambda: _end(first, joined.pop().stop)))
        joined.append(_join(workers))
        what = f"one is killed, session {SESSION_SECONDS} s"
        yield _result(what, *traffic.pauses(lambda: _end(first, joined.pop().kill)))
    finally:
        traffic.stop()
    rebuilds = [float(found) for found in re.findall(r'"seconds": ?([\d.]+)', first.log.read_text())]
    print(f"  windows read back in {rebuilds} s", file=sys.stderr)


def _result(what: str, moved: float, stayed: float) -> Result:
    what = f"{what}: longest pause of the partition that moves"
    return Result("processors-rebalance", what, "of the one that stays", moved, stayed, 1)


def _join(workers: Workers) -> Worker:
    worker = workers.start(PROCESSORS_SESSION_SECONDS=str(SESSION_SECONDS))
    wait_for("its window", lambda: _rebuilt(worker))
    return worker


def _end(stays: Worker, end: Callable[[], object]) -> None:
    before = _rebuilt(stays)
    end()
    wait_for("the window", lambda: _rebuilt(stays) > before)


def _rebuilt(worker: Worker) -> int:
    return worker.log.read_text().count('"window rebuilt"')


class _Traffic(threading.Thread):
    """Sends records at a steady rate, and sees them come out."""

    def __init__(self, kafka: KafkaSettings, records: list[RawRecord]) -> None:
        super().__init__(daemon=True)
        self._raw = RawTopic(kafka, linger_ms=0)
        self._records = records
        self._ended = threading.Event()
        self._longest = [0.0] * PARTITIONS
        self._seen = [time.monotonic()] * PARTITIONS
        self._client = Consumer({**kafka.client_config(), "group.id": "watch", "fetch.wait.max.ms": 20})
        places = [TopicPartition(kafka.topics.enriched, number) for number in range(PARTITIONS)]
        for place in places:
            place.offset = self._client.get_watermark_offsets(place, timeout=20)[1]
        self._client.assign(places)

    def run(self) -> None:
        start, number = time.monotonic(), 0
        while not self._ended.is_set():
            while number < (time.monotonic() - start) * EVENTS_PER_SECOND * PARTITIONS:
                _send(self._raw, self._records[number % len(self._records)], number)
                number += 1
            self._raw.producer.poll(0)
            for message in self._client.consume(1000, 0.005):
                headers: dict[str, bytes] = dict(message.headers() or [])  # type: ignore[arg-type]  # as the gateway's
                partition = Enrichment.FromString(headers[h.ENRICHMENT]).raw.partition
                now = time.monotonic()
                self._longest[partition] = max(self._longest[partition], now - self._seen[partition])
                self._seen[partition] = now
        self._raw.flush()
        self._client.close()

    def pauses(self, happens: Callable[[], object]) -> tuple[float, float]:
        """The longest pauses, longer one first, from now until `happens` returned and both partitions flow again."""
        self._longest = [0.0] * PARTITIONS
        happens()
        threading.Event().wait(2.0)  # what it leaves behind
        wait_for("both", lambda: all(time.monotonic() - seen < 0.2 for seen in self._seen))
        longest, shortest = sorted(self._longest, reverse=True)
        return longest, shortest

    def stop(self) -> None:
        self._ended.set()
        self.join(30)
