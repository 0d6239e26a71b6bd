"""Raw records as the gateway writes them, for tests that stand in for it."""

from __future__ import annotations

from typing import Any

from chaukas.spec.common.v1 import events_pb2 as pb

from contracts import headers as h
from processors.intake import RawRecord

RECEIVED_NS = 1_750_000_000_100_000_000


def raw_headers(event: Any, received_at_ns: int = RECEIVED_NS) -> list[tuple[str, bytes | None]]:
    """What the gateway says about `event`."""
    value = pb.EventType.DESCRIPTOR.values_by_number.get(event.type)
    return [
        (h.TENANT_ID, event.tenant_id.encode()),
        (h.PROJECT_ID, event.project_id.encode()),
        (h.EVENT_ID, event.event_id.encode()),
        (h.EVENT_TYPE, (value.name if value else f"EVENT_TYPE_{event.type}").encode()),
        (h.RECEIVED_AT_NS, str(received_at_ns).encode()),
        (h.SCHEMA, h.EVENT_SCHEMA.encode()),
    ]


def raw_key(event: Any) -> bytes:
    key: str = event.session_id or event.trace_id or event.event_id
    return key.encode()


def raw_record(
    event: Any,
    offset: int = 0,
    *,
    partition: int = 0,
    topic: str = "raw",
    received_at_ns: int = RECEIVED_NS,
    value: bytes | None = None,
) -> RawRecord:
    """The record of `event`; `value` replaces the event's serialization."""
    return RawRecord(
        topic=topic,
        partition=partition,
        offset=offset,
        key=raw_key(event),
        value=event.SerializeToString() if value is None else value,
        headers=raw_headers(event, received_at_ns),
        timestamp_ms=received_at_ns // 1_000_000,
    )
