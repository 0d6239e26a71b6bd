"""Events as rows of a Parquet file: the columns, documented in docs/import_export.md, and the mapping. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from chaukas.spec.common.v1 import events_pb2
from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError

from cli.render import names, server_facts
from contracts.spec_json import message_to_json

_TIME = pa.timestamp("ns", tz="UTC")
#: What an int64 of nanoseconds holds; other times are null in the column and whole in `event`.
_MAX_NS = 2**63 - 1

SCHEMA = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("tenant_id", pa.string(), nullable=False),
        pa.field("project_id", pa.string()),
        pa.field("session_id", pa.string()),
        pa.field("trace_id", pa.string()),
        pa.field("span_id", pa.string()),
        pa.field("parent_span_id", pa.string()),
        pa.field("timestamp", _TIME),
        pa.field("received_at", pa.string()),
        pa.field("type", pa.string(), nullable=False),
        pa.field("status", pa.string()),
        pa.field("effective_status", pa.string()),
        pa.field("severity", pa.string()),
        pa.field("author", pa.string()),
        pa.field("agent_id", pa.string()),
        pa.field("agent_name", pa.string()),
        pa.field("tags", pa.list_(pa.string())),
        pa.field("duration_ms", pa.float64()),
        pa.field("cost_usd", pa.float64()),
        pa.field("content_kind", pa.string()),
        pa.field("content", pa.string()),
        pa.field("metadata", pa.string()),
        pa.field("event", pa.binary(), nullable=False),
    ]
)


def record_batch(events: Sequence[events_pb2.Event]) -> Any:
    """A ``pyarrow.RecordBatch`` of :data:`SCHEMA`. Never raises for events that were parsed."""
    return pa.RecordBatch.from_pylist([row(event) for event in events], schema=SCHEMA)


def row(event: events_pb2.Event) -> dict[str, Any]:
    """One event by column; what is not set is None."""
    facts = server_facts.read(event)
    document = message_to_json(event)
    content = document.get("content")
    kind = content.pop("kind") if content else None
    return {
        **{
            name: getattr(event, name) or None
            for name in ("project_id", "session_id", "trace_id", "span_id", "parent_span_id", "agent_id", "agent_name")
        },
        "event_id": event.event_id,
        "tenant_id": event.tenant_id,
        "timestamp": _nanoseconds(event),
        "received_at": _received_at(event),
        "type": names.short(names.EventType, event.type),
        "status": names.short(names.EventStatus, event.status) if event.status else None,
        "effective_status": names.short(names.EventStatus, facts.effective_status) if facts.effective_status else None,
        "severity": names.short(names.Severity, event.severity) if event.severity else None,
        "author": document.get("author"),
        "tags": list(event.tags),
        "duration_ms": facts.duration_ms,
        "cost_usd": facts.cost_usd if facts.cost_usd is not None else _own_cost(event),
        "content_kind": kind,
        "content": None if content is None else json.dumps(content),
        "metadata": json.dumps(document["metadata"]) if "metadata" in document else None,
        "event": event.SerializeToString(),
    }


def _nanoseconds(event: events_pb2.Event) -> int | None:
    if not event.HasField("timestamp"):
        return None
    ns = event.timestamp.seconds * 1_000_000_000 + event.timestamp.nanos
    return ns if -_MAX_NS <= ns <= _MAX_NS else None


def _own_cost(event: events_pb2.Event) -> float | None:
    """What the client says it cost, when it says so in dollars."""
    given = event.cost
    return given.total_cost or None if event.HasField("cost") and given.currency in ("", "USD") else None


def _received_at(event: events_pb2.Event) -> str | None:
    """RFC 3339 with nanoseconds, as the server's extension has it."""
    if not event.extensions:
        return None
    struct = struct_pb2.Struct()
    try:
        if not event.extensions[-1].Unpack(struct):
            return None
    except DecodeError:
        return None
    fields = struct.fields[server_facts.KEY].struct_value.fields
    return fields["received_at"].string_value or None if "received_at" in fields else None
