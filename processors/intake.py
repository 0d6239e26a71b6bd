"""From a raw Kafka record to what the steps work on, or the reason why it is none.

Identity comes from the record's headers, which the gateway wrote after its checks; the value must agree with them.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Any

from chaukas.spec.common.v1 import events_pb2
from google.protobuf.message import DecodeError, EncodeError

from contracts import headers as h
from contracts.dead_letters import Reason, SourceRecord
from contracts.headers import EventHeaders, ForeignRecord

_parse: Any = events_pb2.Event.FromString

#: 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, Unix seconds: what a protobuf Timestamp may hold.
_MIN_SECONDS = -62_135_596_800
_MAX_SECONDS = 253_402_300_799
NANOS = 1_000_000_000

#: confluent-kafka's shape of a record's headers.
Headers = list[tuple[str, str | bytes | None]]


class BadRecord(Exception):
    """This record cannot be processed, now or ever: dead-letter it. The message never holds content."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RawRecord:
    """A Kafka record as it was read. As :class:`SourceRecord`, but cheap to make: there is one for every event."""

    __slots__ = ("headers", "key", "offset", "partition", "timestamp_ms", "topic", "value")

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes | None]],
        timestamp_ms: int,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.key = key
        self.value = value
        self.headers = headers
        self.timestamp_ms = timestamp_ms

    def to_source(self) -> SourceRecord:
        """For a dead letter."""
        return SourceRecord(
            self.topic, self.partition, self.offset, self.key, self.value, tuple(self.headers), self.timestamp_ms
        )


class Incoming:
    """One accepted event with its place in the raw topic. Read-only by convention: it is made once per record."""

    __slots__ = (
        "_scope",
        "_session",
        "canonical_sha256",
        "content_sha256",
        "event",
        "event_id",
        "has_enrichment_header",
        "id_key",
        "offset",
        "project_id",
        "received_at_ns",
        "record",
        "session_id",
        "span_id",
        "tenant_id",
        "time_ns",
        "timestamp_ns",
        "type",
        "value",
    )

    def __init__(self, record: RawRecord, value: bytes, headers: EventHeaders, event: Any, canonical: bytes) -> None:
        self.record = record
        self.value = value
        self.offset = record.offset
        #: The parsed ``chaukas.spec.common.v1.Event``. Each look at a field of it costs as much as a call: the ones that
        #: every step wants are read here, once.
        self.event = event
        self.tenant_id, self.project_id, self.event_id, received_at_ns, _, _, enrichment = headers
        self.received_at_ns = received_at_ns
        self.has_enrichment_header = enrichment is not None
        tenant, self._scope = _scope(self.tenant_id, self.project_id)
        #: Tenant and event id as one string: no other pair gives the same.
        self.id_key = tenant + self.event_id
        self.session_id: str = event.session_id
        self.span_id: str = event.span_id
        self.type: int = event.type
        #: Event.timestamp in Unix nanoseconds; None when the client gave none (or one that protobuf forbids).
        stamp = event.timestamp
        seconds, nanos = stamp.seconds, stamp.nanos
        usual = 0 < seconds <= _MAX_SECONDS and 0 <= nanos < NANOS
        self.timestamp_ns = sent = seconds * NANOS + nanos if usual else timestamp_ns(event)
        #: When it happened: the timestamp, else the time of receipt.
        self.time_ns = received_at_ns if sent is None else sent
        self.content_sha256 = content = sha256(value).digest()
        # Bytes without maps are canonical already: comparing is cheaper than hashing again.
        self.canonical_sha256 = content if canonical == value else sha256(canonical).digest()
        self._session = ""

    @property
    def session(self) -> str:
        """Tenant, project and session as one string, the beginning of keys in the window: no other triple gives the same."""
        known = self._session
        if not known:
            session = self.session_id
            self._session = known = f"{self._scope}{len(session)}:{session}"
        return known


@lru_cache(maxsize=1024)
def _scope(tenant_id: str, project_id: str) -> tuple[str, str]:
    """The beginnings of keys: of a tenant's, and of a tenant's and project's."""
    tenant = f"{len(tenant_id)}:{tenant_id}"
    return tenant, f"{tenant}{len(project_id)}:{project_id}"


def timestamp_ns(event: Any) -> int | None:
    """Event.timestamp in Unix nanoseconds; None when absent or outside what protobuf allows."""
    stamp = event.timestamp
    seconds: int = stamp.seconds
    nanos: int = stamp.nanos
    if not (_MIN_SECONDS <= seconds <= _MAX_SECONDS and 0 <= nanos < NANOS):
        return None
    # Only zeroes can mean that there is none.
    return seconds * NANOS + nanos if seconds or nanos or event.HasField("timestamp") else None


def read(record: RawRecord) -> Incoming:
    """Parse and check one raw record. Raises :class:`BadRecord`."""
    value = record.value
    if value is None:
        raise BadRecord(Reason.UNPARSEABLE, "the record has no value")
    try:
        headers = EventHeaders.parse(record.headers)
    except ForeignRecord as error:
        raise BadRecord(Reason.FOREIGN_RECORD, str(error)) from None
    if not record.key:
        raise BadRecord(Reason.FOREIGN_RECORD, "the record has no key")
    try:
        event = _parse(value)
        canonical = event.SerializeToString(deterministic=True)
    except (DecodeError, EncodeError) as error:
        raise BadRecord(Reason.UNPARSEABLE, f"no {h.EVENT_SCHEMA}: {error}") from None
    tenant_id, project_id, event_id, _, _, _, _ = headers
    if event.event_id != event_id:
        raise BadRecord(Reason.FOREIGN_RECORD, "header event_id differs from the event's")
    if event.tenant_id != tenant_id:
        raise BadRecord(Reason.FOREIGN_RECORD, "header tenant_id differs from the event's")
    if event.project_id != project_id:
        raise BadRecord(Reason.FOREIGN_RECORD, "header project_id differs from the event's")
    return Incoming(record, value, headers, event, canonical)
