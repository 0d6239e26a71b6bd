"""Rebuilds a partition's window by reading back, before its first batch under a new assignment.

Reads the 2W records before the batch with a consumer of its own that belongs to no group and commits nothing: the first W
for ids only (the marks of those records would need what lies before them), the second W through all steps. Nothing is
emitted. What retention has already deleted is not known, like everything further back than the window.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from contracts.errors import Unavailable
from processors.flood import Flood
from processors.intake import RawRecord
from processors.pipeline import CHUNK, PartitionState, Redact, remember_all
from processors.window import Window
from runtime.kafka_headers import headers_of
from runtime.kafka_log import kafka_logger

#: Longest silence of the brokers while reading back, seconds.
READ_SECONDS = 30.0
#: How long one call waits: a reader that is not needed any more ends so soon.
_SLICE_SECONDS = 1.0
_CHUNK = 2000
_NO_ANSWER = (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._WAIT_COORD)


class Reader(Protocol):
    """Reads a partition back. Blocking: call it on a thread of its own."""

    def __call__(self, topic: str, partition: int, start: int, end: int) -> Iterator[RawRecord | None]:
        """The records with offsets in [start, end) that still exist, in order; None about every second in which nothing
        comes, so that whoever reads can give up. Raises Unavailable."""
        ...


def raw_record(message: Any) -> RawRecord:
    """A confluent-kafka message as the steps and dead letters know it."""
    return RawRecord(
        message.topic(),
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        headers_of(message),
        message.timestamp()[1],
    )


def kafka_reader(config: Mapping[str, Any]) -> Reader:
    """A reader on real Kafka; `config` are the properties common to all clients."""

    def read(topic: str, partition: int, start: int, end: int) -> Iterator[RawRecord | None]:
        client = Consumer(
            {
                **config,
                "group.id": f"rebuild-{uuid.uuid4()}",  # librdkafka wants one; nothing is ever committed to it
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
            },
            logger=kafka_logger(),
        )
        try:
            yield from _read(client, topic, partition, start, end)
        except KafkaException as error:
            raise Unavailable(f"cannot read back {topic}-{partition}: {error}") from error
        finally:
            client.close()

    return read


def _read(client: Consumer, topic: str, partition: int, start: int, end: int) -> Iterator[RawRecord | None]:
    silent_since = time.monotonic()
    while True:
        try:
            low, high = client.get_watermark_offsets(TopicPartition(topic, partition), timeout=_SLICE_SECONDS)
            break
        except KafkaException as error:
            if error.args[0].code() not in _NO_ANSWER or time.monotonic() - silent_since > READ_SECONDS:
                raise
            yield None
    start, end = max(start, low), min(end, high)
    if start >= end:
        return
    client.assign([TopicPartition(topic, partition, start)])
    while True:
        # consume(n, t) waits the whole t unless n records are there; poll() returns with the first one.
        first = client.poll(_SLICE_SECONDS)
        if first is None:
            if time.monotonic() - silent_since > READ_SECONDS:
                raise Unavailable(f"{topic}-{partition}: no answer for {READ_SECONDS:.0f} s while reading back")
            yield None
            continue
        silent_since = time.monotonic()
        for message in (first, *client.consume(_CHUNK, 0)):
            problem = message.error()
            if problem is not None:
                if problem.code() == KafkaError._PARTITION_EOF:
                    return
                raise KafkaException(problem)
            offset = message.offset()
            assert offset is not None
            if offset >= end:
                return
            yield raw_record(message)
            if offset == end - 1:
                return


def rebuild(
    read: Reader,
    topic: str,
    partition: int,
    first_offset: int,
    window: Window,
    progress: Callable[[], None],
    accepted_until_ms: int = 0,
    redact: Redact | None = None,
) -> tuple[PartitionState, Flood]:
    """The state as it is before the record at `first_offset`. Blocking; calls `progress` about every thousand records, and
    while nothing comes; what that raises ends it.

    `accepted_until_ms`: bad records with an earlier Kafka time are no part of a flood, as when they were first read. `redact`: as
    of :class:`PartitionState`.
    """
    progress()
    state, flood = PartitionState(window, redact), Flood()
    start = max(0, first_offset - 2 * window.offsets)
    ids_only_before = first_offset - window.offsets

    def remember(records: list[RawRecord]) -> None:
        found = remember_all(state, records, ids_only=bool(records) and records[0].offset < ids_only_before)
        for record, bad in zip(records, found, strict=True):
            if bad is None:
                flood.good()
            elif record.timestamp_ms < accepted_until_ms:
                flood.skip()
            else:
                flood.bad(bad, record)

    chunk: list[RawRecord] = []
    if start < first_offset:
        for number, record in enumerate(read(topic, partition, start, first_offset)):
            if record is None or number % 1000 == 999:
                progress()
            if record is None:
                continue
            if len(chunk) == CHUNK or (chunk and chunk[0].offset < ids_only_before <= record.offset):
                remember(chunk)
                chunk = []
            chunk.append(record)
        remember(chunk)
    state.next_offset = first_offset
    return state, flood
