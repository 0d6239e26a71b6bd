"""Rebuilds a partition's window by reading back, before its first batch under a new assignment.

Reads the 2W records before the batch with a consumer of its own that belongs to no group and commits nothing: the first W
for ids only (the marks of those records would need what lies before them), the second W through all steps. Nothing is
emitted. What retention has already deleted is not known, like everything further back than the window.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from contracts.errors import Unavailable
from processors.flood import Flood
from processors.intake import BadRecord, RawRecord
from processors.pipeline import PartitionState, remember
from processors.transport.kafka_log import kafka_logger
from processors.window import Window

#: Longest silence of the brokers while reading back, seconds.
READ_SECONDS = 30.0
_CHUNK = 2000


class Reader(Protocol):
    """Reads a partition back. Blocking: call it on a thread of its own."""

    def __call__(self, topic: str, partition: int, start: int, end: int) -> Iterator[RawRecord]:
        """The records with offsets in [start, end) that still exist, in order. Raises Unavailable."""
        ...


def raw_record(message: Any) -> RawRecord:
    """A confluent-kafka message as the steps and dead letters know it."""
    return RawRecord(
        message.topic(),
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        message.headers() or [],
        message.timestamp()[1],
    )


def kafka_reader(config: Mapping[str, Any]) -> Reader:
    """A reader on real Kafka; `config` are the properties common to all clients."""

    def read(topic: str, partition: int, start: int, end: int) -> Iterator[RawRecord]:
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


def _read(client: Consumer, topic: str, partition: int, start: int, end: int) -> Iterator[RawRecord]:
    low, high = client.get_watermark_offsets(TopicPartition(topic, partition), timeout=READ_SECONDS)
    start, end = max(start, low), min(end, high)
    if start >= end:
        return
    client.assign([TopicPartition(topic, partition, start)])
    while True:
        # consume(n, t) waits the whole t unless n records are there; poll() returns with the first one.
        first = client.poll(READ_SECONDS)
        if first is None:
            raise Unavailable(f"{topic}-{partition}: no answer for {READ_SECONDS:.0f} s while reading back")
        for message in (first, *client.consume(_CHUNK, 0)):
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    return
                raise KafkaException(error)
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
) -> tuple[PartitionState, Flood]:
    """The state as it is before the record at `first_offset`. Blocking; calls `progress` about every thousand records."""
    state, flood = PartitionState(window), Flood()
    start = max(0, first_offset - 2 * window.offsets)
    ids_only_before = first_offset - window.offsets
    if start < first_offset:
        for number, record in enumerate(read(topic, partition, start, first_offset)):
            try:
                remember(state, record, ids_only=record.offset < ids_only_before)
                flood.good()
            except BadRecord as bad:
                flood.bad(bad, record)
            if number % 1000 == 999:
                progress()
    state.next_offset = first_offset
    return state, flood
