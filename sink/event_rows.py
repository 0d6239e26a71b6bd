"""What a row of ``events`` is, whoever maps it, and what mapping a batch gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from contracts.dead_letters import Reason, SourceRecord
from contracts.wire import parse_events
from sink.route import BadRecord, Enriched

TIME = pa.timestamp("ns", "UTC")
SHA256 = pa.binary(32)

_TEXT = [
    "tenant_id",
    "project_id",
    "event_id",
    "session_id",
    "span_id",
    "parent_span_id",
    "trace_id",
    "agent_id",
    "agent_name",
    "mcp_server",
    "mcp_operation",
    "tool_name",
    "function_name",
    "model_provider",
    "model",
    "error_code",
    "error_message",
    "policy_id",
    "policy_outcome",
    "datasource",
    "policy_rationale",
    "finish_reason",
    "retry_strategy",
    "redaction_method",
    "redaction_salt_id",
    "redaction_version",
    "search_text",
    "batch_id",
    "traceparent",
]
_NUMBERS = [
    "type",
    "severity",
    "status",
    "effective_status",
    "author",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "http_status",
]
_LISTS = [
    "tags",
    "pii_categories",
    "accessed_pii_categories",
    "document_ids",
    "policy_rule_ids",
    "redaction_fields",
    "redacted",
]
#: What an insert into `events` carries; the engine computes the hashes, the version and ingested_at.
SCHEMA = pa.schema(
    [(name, pa.string()) for name in _TEXT]
    + [(name, pa.int32()) for name in _NUMBERS]
    + [(name, pa.list_(pa.string())) for name in _LISTS]
    + [
        ("bucket", pa.uint32()),
        ("ts", TIME),
        ("cost_usd", pa.float64()),
        ("duration_ms", pa.float64()),
        ("reported_ms", pa.float64()),
        ("retry_attempt", pa.int32()),
        ("retry_backoff_ms", pa.int32()),
        ("raw", pa.binary()),
        ("received_at", TIME),
        ("raw_partition", pa.uint32()),
        ("raw_offset", pa.uint64()),
        ("content_sha256", SHA256),
        ("canonical_sha256", SHA256),
    ]
)


@dataclass(slots=True)
class Mapped:
    """Rows, and the records that are none."""

    table: pa.Table
    #: The records behind the table's rows, in its order.
    rows: list[SourceRecord]
    bad: list[tuple[SourceRecord, BadRecord]] = field(default_factory=list)
    #: Copies that the processors marked: not for `events`.
    marked: list[Enriched] = field(default_factory=list)


def parse_event(record: Enriched) -> Any:
    """The event in `record`. Raises :class:`BadRecord` when it does not parse, or is not the one the headers name."""
    (event,) = parse_events((record.value,))
    if event is None:
        raise BadRecord(Reason.UNPARSEABLE, "the value is no Event, or is nested too deep for a page of answers")
    if event.event_id != record.headers.event_id or event.tenant_id != record.headers.tenant_id:
        raise BadRecord(Reason.FOREIGN_RECORD, "header event_id or tenant_id: not those of the value")
    return event
