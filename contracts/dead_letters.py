"""Dead letters: reason codes, ids and how one is built. See ``contracts/v1/dead_letter.proto``."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from contracts import headers as h
from contracts.v1 import dead_letter_pb2

_INT64 = range(-(1 << 63), 1 << 63)
_NAMESPACE = uuid.UUID("6a3f0f5e-3f65-5d0c-9a55-1c9d4a9d7a01")


class Stage(enum.StrEnum):
    """The process that gave up on a record; letters of the sink are replayed to the enriched topic, others to raw."""

    PROCESSORS = "processors"
    SINK = "sink"


class Reason(enum.StrEnum):
    """Why. Low-cardinality: also a metric label."""

    #: The value is no ``Event``.
    UNPARSEABLE = "unparseable"
    #: The gateway's headers are missing or unreadable, or say another id than the value.
    FOREIGN_RECORD = "foreign_record"
    #: The record is larger than the next topic takes.
    TOO_LARGE = "too_large"
    #: A processing step failed on it unexpectedly: a defect of ours, to be replayed when it is mended.
    STEP_FAILED = "step_failed"
    #: The store refused the row for ever.
    ROW_REFUSED = "row_refused"
    #: A fact record that is no fact.
    INVALID_FACT = "invalid_fact"


class SourceRecord(NamedTuple):
    """A Kafka record as it was read. A tuple, because one is made per record of every topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp_ms: int


def dead_letter_id(topic: str, partition: int, offset: int, stage: Stage) -> str:
    """The same failure of the same record is the same letter."""
    return str(uuid.uuid5(_NAMESPACE, f"{topic}\x00{partition}\x00{offset}\x00{stage.value}"))


def build(
    record: SourceRecord, stage: Stage, reason: Reason, message: str, *, withhold: bool = False
) -> dead_letter_pb2.DeadLetter:
    """The letter for `record`. Pure: `first_seen` is the record's own Kafka time, so a repeat is byte-identical.

    `withhold`: without the value, and without headers that anybody may have written.
    """
    tenant = next((value for name, value in record.headers if name == h.TENANT_ID and value), b"")
    letter = dead_letter_pb2.DeadLetter(
        dead_letter_id=dead_letter_id(record.topic, record.partition, record.offset, stage),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        value=b"" if withhold else record.value or b"",
        timestamp_ms=record.timestamp_ms,
        stage=stage.value,
        reason=reason.value,
        message=message,
        # Whoever can write to the topic chooses its records' times.
        first_seen_ns=max(_INT64.start, min(record.timestamp_ms * 1_000_000, _INT64.stop - 1)),
        tenant_id=tenant.decode(errors="replace"),
        withheld=withhold,
    )
    if record.key is not None:
        letter.key = record.key
    for name, value in record.headers:
        if withhold and name not in h.GATEWAY_HEADERS:
            continue
        header = letter.headers.add(name=name)
        if value is not None:
            header.value = value
    return letter


def record_headers(letter: dead_letter_pb2.DeadLetter) -> list[tuple[str, bytes]]:
    """Headers of the Kafka record that carries `letter`."""
    pairs: Iterable[tuple[str, str]] = (
        (h.SCHEMA, h.DEAD_LETTER_SCHEMA),
        (h.STAGE, letter.stage),
        (h.REASON, letter.reason),
        (h.TENANT_ID, letter.tenant_id),
    )
    return [(name, value.encode()) for name, value in pairs]
