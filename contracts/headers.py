"""The headers of every Kafka record, and how to read them.

`tenant_id`, `project_id`, `event_id` and `received_at_ns` are the gateway's word on what it checked: nothing downstream
decides identity from a second parse of the client's bytes. A record without them (or with unreadable ones) did not come
through the gateway and is dead-lettered (:class:`ForeignRecord`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from contracts.errors import PermanentError

#: UTF-8 text.
TENANT_ID = "tenant_id"
PROJECT_ID = "project_id"
EVENT_ID = "event_id"
#: Name of the event's type; ``EVENT_TYPE_<number>`` for a number this version does not know.
EVENT_TYPE = "event_type"
#: Time of receipt at the gateway, Unix nanoseconds, decimal ASCII.
RECEIVED_AT_NS = "received_at_ns"
#: The batch the event came in; absent for single events.
BATCH_ID = "batch_id"
#: Full name of the protobuf message in the value.
SCHEMA = "schema"
#: W3C trace context of the caller; absent when it sent none.
TRACEPARENT = "traceparent"
#: Serialized ``chaukas.gateway.v1.Enrichment``, on enriched records only.
ENRICHMENT = "enrichment"
#: On records that `dlq replay` sent again: the id of the dead letter they were. Such a record is no copy of the one before.
REPLAY_OF = "replay_of"
#: On dead letters only: the stage that gave up, and the reason code.
STAGE = "stage"
REASON = "reason"

#: What a record of the gateway may have.
GATEWAY_HEADERS = frozenset(
    (TENANT_ID, PROJECT_ID, EVENT_ID, EVENT_TYPE, RECEIVED_AT_NS, BATCH_ID, SCHEMA, TRACEPARENT, REPLAY_OF)
)

EVENT_SCHEMA = "chaukas.spec.common.v1.Event"
HANDOFF_SCHEMA = "chaukas.gateway.v1.HandoffFact"
MCP_CALL_SCHEMA = "chaukas.gateway.v1.McpCallFact"
DEAD_LETTER_SCHEMA = "chaukas.gateway.v1.DeadLetter"
_EVENT_SCHEMA = EVENT_SCHEMA.encode()

#: confluent-kafka's shape: names may repeat, values may be None.
RawHeaders = Iterable[tuple[str, bytes | None]]


class ForeignRecord(PermanentError):
    """A record without the headers the gateway writes, or with unreadable ones; `header` names the first."""

    def __init__(self, header: str, reason: str) -> None:
        super().__init__(f"header {header}: {reason}")
        self.header = header


class EventHeaders(NamedTuple):
    """What the gateway checked about one event, read back from its record. A tuple, because one is made per event."""

    tenant_id: str
    project_id: str
    event_id: str
    received_at_ns: int
    batch_id: str | None = None
    traceparent: str | None = None
    enrichment: bytes | None = None

    @classmethod
    def parse(cls, headers: RawHeaders | None) -> EventHeaders:
        """Read the headers; when a name repeats, the first counts. Raises :class:`ForeignRecord`."""
        pairs = headers if type(headers) is list else [*headers] if headers else []
        return as_the_gateway_writes(pairs) or _in_any_order(pairs)


class BoundedHeaders(EventHeaders):
    """What :func:`as_the_gateway_writes` reads from nearly all raw records: beside tenant, project and event id their headers
    take less than :data:`BOUNDED_BYTES`, names included."""

    __slots__ = ()


BOUNDED_BYTES = 1024
#: Longest id (contracts/validation.py).
_ID_BYTES = 256
_KIND_BYTES, _REST_BYTES = 128, 256

#: The gateway's order. What it writes only sometimes, and the enrichment, come after these.
_LAYOUT = (TENANT_ID, PROJECT_ID, EVENT_ID, EVENT_TYPE, RECEIVED_AT_NS, SCHEMA)
_AFTER = frozenset((BATCH_ID, TRACEPARENT, ENRICHMENT))
_new_tuple = tuple.__new__  # a NamedTuple's own constructor costs twice as much


def as_the_gateway_writes(pairs: list[Any]) -> EventHeaders | None:
    """What :meth:`EventHeaders.parse` reads, at half its cost; None when anything is not as the gateway writes it."""
    try:
        first_six, rest = (pairs, None) if len(pairs) == 6 else (pairs[:6], pairs[6:])
        (n1, tenant), (n2, project), (n3, event), (n4, kind), (n5, received), (n6, schema) = first_six
        if (n1, n2, n3, n4, n5, n6) != _LAYOUT or schema != _EVENT_SCHEMA or not tenant or not event:
            return None
        if not received.isdigit() or len(received) > 19:
            return None
        received_at_ns = int(received)
        if received_at_ns >= 1 << 63:
            return None
        shape = BoundedHeaders if len(kind) <= _KIND_BYTES else EventHeaders
        batch_id = traceparent = enrichment = None
        if rest:
            found = dict(rest)
            if len(found) != len(rest) or not found.keys() <= _AFTER:
                return None
            enrichment = found.get(ENRICHMENT)
            if enrichment is not None or sum(map(len, found.values())) > _REST_BYTES:
                shape = EventHeaders
            batch_id = found[BATCH_ID].decode() if BATCH_ID in found else None
            traceparent = found[TRACEPARENT].decode() if TRACEPARENT in found else None
        known = (tenant.decode(), project.decode(), event.decode(), received_at_ns, batch_id, traceparent, enrichment)
        return _new_tuple(shape, known)
    except (ValueError, AttributeError, TypeError):  # too few, not UTF-8; a header without a value
        return None


def _in_any_order(pairs: list[tuple[str, bytes | None]]) -> EventHeaders:
    found: dict[str, bytes | None] = dict(pairs)
    if len(found) != len(pairs):
        found = dict(reversed(pairs))
    received = found.get(RECEIVED_AT_NS)
    if received is None:
        raise ForeignRecord(RECEIVED_AT_NS, "missing")
    received_at_ns = int(received) if received.isdigit() and len(received) <= 19 else -1
    if not 0 <= received_at_ns < 1 << 63:
        raise ForeignRecord(RECEIVED_AT_NS, "not a time in Unix nanoseconds")
    tenant_id, event_id = _text(found, TENANT_ID), _text(found, EVENT_ID)
    if not tenant_id or not event_id:
        raise ForeignRecord(EVENT_ID if tenant_id else TENANT_ID, "empty")
    if found.get(SCHEMA) != _EVENT_SCHEMA:
        raise ForeignRecord(SCHEMA, f"not {EVENT_SCHEMA}")
    return EventHeaders(
        tenant_id,
        _text(found, PROJECT_ID),
        event_id,
        received_at_ns,
        _text(found, BATCH_ID) if BATCH_ID in found else None,
        _text(found, TRACEPARENT) if TRACEPARENT in found else None,
        found.get(ENRICHMENT),
    )


def shown_event_id(headers: RawHeaders) -> str:
    """The event id of a record that need not be the gateway's, for a line of a log: empty without one, cut where ids must end."""
    value = next((value for name, value in headers if name == EVENT_ID), None)
    return (value or b"")[:_ID_BYTES].decode(errors="replace")


def _text(headers: dict[str, bytes | None], name: str) -> str:
    value = headers.get(name)
    if value is None:
        raise ForeignRecord(name, "missing")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ForeignRecord(name, "not UTF-8") from None
