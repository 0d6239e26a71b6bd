"""From a raw Kafka record to what the steps work on, or the reason why it is none.

Identity comes from the record's headers, which the gateway wrote after its checks; the value must agree with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256
from operator import attrgetter
from typing import Any

from chaukas.spec.common.v1 import events_pb2
from google.protobuf.message import DecodeError, EncodeError

from contracts import headers as h
from contracts.dead_letters import Reason, SourceRecord
from contracts.headers import EventHeaders, ForeignRecord, as_the_gateway_writes

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
    """One accepted event with its place in the raw topic. Read-only by convention: :func:`read` makes it, once per record."""

    __slots__ = (
        "_scope",
        "_session",
        "canonical_sha256",
        "content_sha256",
        "event",
        "event_id",
        "headers",
        "id_key",
        "offset",
        "project_id",
        "received_at_ns",
        "record",
        "redaction",
        "session_id",
        "span_id",
        "tenant_id",
        "time_ns",
        "timestamp_ns",
        "type",
        "value",
    )

    record: RawRecord
    value: bytes
    offset: int
    #: The parsed ``chaukas.spec.common.v1.Event``. Each look at a field of it costs as much as a call: the ones that every
    #: step wants are read once.
    event: Any
    tenant_id: str
    project_id: str
    event_id: str
    received_at_ns: int
    #: :class:`contracts.headers.BoundedHeaders`: the record's headers take no more than its value (the ids agree with it, so they are in it)
    #: and :data:`contracts.headers.BOUNDED_BYTES`.
    headers: EventHeaders
    #: Tenant and event id as one string: no other pair gives the same.
    id_key: str
    session_id: str
    span_id: str
    type: int
    #: Event.timestamp in Unix nanoseconds; None when the client gave none (or one that protobuf forbids).
    timestamp_ns: int | None
    #: When it happened: the timestamp, else the time of receipt.
    time_ns: int
    content_sha256: bytes
    canonical_sha256: bytes
    #: What rules did to `event` and `value` (:mod:`processors.redact`); the hashes are of the raw value. None: no rules.
    redaction: tuple[tuple[str, ...], str] | None
    _scope: str
    _session: str

    @property
    def session(self) -> str:
        """Tenant, project and session as one string, the beginning of keys in the window: no other triple gives the same."""
        known = self._session
        if not known:
            session = self.session_id
            self._session = known = f"{self._scope}{len(session)}:{session}"
        return known


_new_incoming: Callable[[type[Incoming]], Incoming] = object.__new__


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
        headers = as_the_gateway_writes(record.headers) or EventHeaders.parse(record.headers)
    except ForeignRecord as error:
        raise BadRecord(Reason.FOREIGN_RECORD, str(error)) from None
    if not record.key:
        raise BadRecord(Reason.FOREIGN_RECORD, "the record has no key")
    try:
        event = _parse(value)
        canonical = event.SerializeToString(deterministic=True)
    except (DecodeError, EncodeError) as error:
        raise BadRecord(Reason.UNPARSEABLE, f"no {h.EVENT_SCHEMA}: {error}") from None
    return _incoming(record, value, headers, event, canonical, sha256(value).digest())


def read_all(records: Sequence[RawRecord]) -> list[Incoming]:
    """:func:`read` of several good records, at nine tenths of its cost: each kind of work for all of them in
    turn, as in :func:`processors.pipeline.process_all`. One that is bad raises one of :data:`BAD`, and says nothing."""
    values: list[Any] = [record.value for record in records]
    headers = [as_the_gateway_writes(record.headers) or EventHeaders.parse(record.headers) for record in records]
    events = [*map(_parse, values)]
    canonical = [event.SerializeToString(deterministic=True) for event in events]
    digests = [sha256(value).digest() for value in values]
    if not all(map(_key, records)):
        raise BadRecord(Reason.FOREIGN_RECORD, "the record has no key")
    return [*map(_incoming, records, values, headers, events, canonical, digests)]


#: What is bad: foreign, no value (TypeError, of parsing None), not protobuf.
BAD = (BadRecord, ForeignRecord, DecodeError, EncodeError, TypeError)
_key = attrgetter("key")


def _incoming(
    record: RawRecord, value: bytes, headers: EventHeaders, event: Any, canonical: bytes, content: bytes
) -> Incoming:
    """Checked against the headers. Raises :class:`BadRecord`."""
    tenant_id, project_id, event_id, received_at_ns, _, _, _ = headers
    if event.event_id != event_id:
        raise BadRecord(Reason.FOREIGN_RECORD, "header event_id differs from the event's")
    if event.tenant_id != tenant_id:
        raise BadRecord(Reason.FOREIGN_RECORD, "header tenant_id differs from the event's")
    if event.project_id != project_id:
        raise BadRecord(Reason.FOREIGN_RECORD, "header project_id differs from the event's")

    found = _new_incoming(Incoming)  # and no constructor: calling one costs as much as reading three fields
    found.record = record
    found.value = value
    found.offset = record.offset
    found.event = event
    found.tenant_id = tenant_id
    found.project_id = project_id
    found.event_id = event_id
    found.received_at_ns = received_at_ns
    found.headers = headers
    tenant, found._scope = _scope(tenant_id, project_id)
    found._session = ""
    found.redaction = None
    found.id_key = tenant + event_id
    found.session_id = event.session_id
    found.span_id = event.span_id
    found.type = event.type
    stamp = event.timestamp
    seconds, nanos = stamp.seconds, stamp.nanos
    if 0 < seconds <= _MAX_SECONDS and 0 <= nanos < NANOS:
        found.timestamp_ns = found.time_ns = seconds * NANOS + nanos
    else:
        found.timestamp_ns = sent = timestamp_ns(event)
        found.time_ns = received_at_ns if sent is None else sent
    found.content_sha256 = content
    # Bytes without maps are canonical already: comparing is cheaper than hashing again.
    found.canonical_sha256 = content if canonical == value else sha256(canonical).digest()
    return found
