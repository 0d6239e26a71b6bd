"""Rows of everything that is not a plain event: marked copies, hand-offs, MCP calls, dead letters. Pure.

These are few beside events, so clear code counts more than speed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from google.protobuf.message import DecodeError

from contracts import headers as h
from contracts.dead_letters import Reason, SourceRecord
from contracts.v1 import dead_letter_pb2, facts_pb2
from contracts.v1.enrichment_pb2 import Enrichment
from sink.event_rows import SHA256, TIME, parse_event
from sink.route import BadRecord, Enriched
from sink.times import clamp_ns, timestamp_ns

Row = dict[str, Any]

_TEXT, _I32, _I64, _U8, _U32, _U64, _F64 = (
    pa.string(),
    pa.int32(),
    pa.int64(),
    pa.uint8(),
    pa.uint32(),
    pa.uint64(),
    pa.float64(),
)


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


RESENDS = _schema(
    raw_partition=_U32,
    raw_offset=_U64,
    tenant_id=_TEXT,
    project_id=_TEXT,
    event_id=_TEXT,
    first_partition=_U32,
    first_offset=_U64,
    content_sha256=SHA256,
    received_at=TIME,
    marked_by=_TEXT,
)
CONFLICTS = _schema(
    tenant_id=_TEXT,
    project_id=_TEXT,
    event_id=_TEXT,
    raw_partition=_U32,
    raw_offset=_U64,
    session_id=_TEXT,
    ts=TIME,
    received_at=TIME,
    content_sha256=SHA256,
    canonical_sha256=SHA256,
    first_partition=_U32,
    first_offset=_U64,
    first_content_sha256=SHA256,
    raw=pa.binary(),
    marked_by=_TEXT,
)
HANDOFFS = _schema(
    tenant_id=_TEXT,
    project_id=_TEXT,
    handed_off_at=TIME,
    handoff_id=_TEXT,
    source_partition=_U32,
    source_offset=_U64,
    session_id=_TEXT,
    trace_id=_TEXT,
    span_id=_TEXT,
    from_agent_id=_TEXT,
    from_agent_name=_TEXT,
    to_agent_id=_TEXT,
    to_agent_name=_TEXT,
    handoff_type=_TEXT,
    reason=_TEXT,
    picked_up_at=TIME,
    picked_up_event_id=_TEXT,
    latency_ms=_F64,
    source_topic=_TEXT,
    revision=_U8,
)
MCP_CALLS = _schema(
    tenant_id=_TEXT,
    project_id=_TEXT,
    call_id=_TEXT,
    at=TIME,
    start_event_id=_TEXT,
    end_event_id=_TEXT,
    session_id=_TEXT,
    trace_id=_TEXT,
    span_id=_TEXT,
    agent_id=_TEXT,
    agent_name=_TEXT,
    server_name=_TEXT,
    server_url=_TEXT,
    operation=_TEXT,
    method=_TEXT,
    started_at=TIME,
    ended_at=TIME,
    measured_ms=_F64,
    reported_ms=_F64,
    status=_I32,
    error_code=_TEXT,
    error_message=_TEXT,
    request_bytes=_I64,
    response_bytes=_I64,
    source_topic=_TEXT,
    start_partition=_U32,
    start_offset=_U64,
    end_partition=_U32,
    end_offset=_U64,
    revision=_U8,
)
DEAD_LETTERS = _schema(
    dead_letter_id=_TEXT,
    tenant_id=_TEXT,
    event_id=_TEXT,
    topic=_TEXT,
    partition=_U32,
    offset=_U64,
    raw_partition=_U32,
    raw_offset=_U64,
    stage=_TEXT,
    reason=_TEXT,
    message=_TEXT,
    first_seen=TIME,
    letter=pa.binary(),
)
#: Every table this module makes rows for.
SCHEMAS: Mapping[str, pa.Schema] = {
    "resends": RESENDS,
    "conflicts": CONFLICTS,
    "handoffs": HANDOFFS,
    "mcp_calls": MCP_CALLS,
    "dead_letters": DEAD_LETTERS,
}

_NO_HASH = bytes(32)


def to_table(name: str, rows: Sequence[Row]) -> pa.Table:
    """An Arrow table of `rows` for the table `name`. Raises pyarrow's errors for a value that its column cannot hold."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMAS[name])


def resend_row(record: Enriched) -> Row:
    """A copy the processors found identical to an earlier one."""
    headers, found = record.headers, record.enrichment
    return {
        "raw_partition": found.raw.partition,
        "raw_offset": found.raw.offset,
        "tenant_id": headers.tenant_id,
        "project_id": headers.project_id,
        "event_id": headers.event_id,
        "first_partition": found.raw.partition,
        "first_offset": found.resend_of,
        "content_sha256": found.content_sha256,
        "received_at": headers.received_at_ns,
        "marked_by": "window",
    }


def conflict_row(record: Enriched) -> Row:
    """A copy the processors found different from an earlier one, kept whole. Raises BadRecord."""
    headers, found, event = record.headers, record.enrichment, parse_event(record)
    return {
        "tenant_id": headers.tenant_id,
        "project_id": headers.project_id,
        "event_id": headers.event_id,
        "raw_partition": found.raw.partition,
        "raw_offset": found.raw.offset,
        "session_id": event.session_id,
        "ts": timestamp_ns(event, "timestamp", headers.received_at_ns),
        "received_at": headers.received_at_ns,
        "content_sha256": found.content_sha256,
        "canonical_sha256": found.canonical_sha256,
        "first_partition": found.raw.partition,
        "first_offset": found.conflicts_with,
        "first_content_sha256": _NO_HASH,
        "raw": record.value,
        "marked_by": "window",
    }


def handoff_row(record: SourceRecord) -> Row:
    """A HandoffFact. Raises BadRecord."""
    fact = facts_pb2.HandoffFact()
    _parse(fact, record)
    if not (fact.handoff_id and fact.tenant_id and fact.HasField("handed_off_at") and fact.HasField("source")):
        raise BadRecord(Reason.INVALID_FACT, "no HandoffFact: ids, time or source are missing")
    row = _same_names(fact, HANDOFFS)
    row.update(
        handed_off_at=clamp_ns(fact.handed_off_at.seconds, fact.handed_off_at.nanos),
        picked_up_at=timestamp_ns(fact, "picked_up_at", 0) if fact.HasField("picked_up_at") else None,
        latency_ms=_optional(fact, "latency_ms"),
        source_topic=fact.source.topic,
        source_partition=fact.source.partition,
        source_offset=fact.source.offset,
    )
    return _checked(row, fact.revision)


def mcp_call_row(record: SourceRecord) -> Row:
    """An McpCallFact. Raises BadRecord."""
    fact = facts_pb2.McpCallFact()
    _parse(fact, record)
    started = timestamp_ns(fact, "started_at", 0) if fact.HasField("started_at") else None
    ended = timestamp_ns(fact, "ended_at", 0) if fact.HasField("ended_at") else None
    at = ended if started is None else started
    if not (fact.call_id and fact.tenant_id) or at is None:
        raise BadRecord(Reason.INVALID_FACT, "no McpCallFact: ids or times are missing")
    row = _same_names(fact, MCP_CALLS)
    row.update(
        at=at,
        started_at=started,
        ended_at=ended,
        measured_ms=_optional(fact, "measured_ms"),
        reported_ms=_optional(fact, "reported_ms"),
        source_topic=fact.start_source.topic or fact.end_source.topic,
    )
    for half in ("start", "end"):
        known = fact.HasField(f"{half}_source")
        source = getattr(fact, f"{half}_source")
        row[f"{half}_partition"] = source.partition if known else None
        row[f"{half}_offset"] = source.offset if known else None
    return _checked(row, fact.revision)


def dead_letter_row(record: SourceRecord, raw_topic: str) -> Row:
    """A DeadLetter. `raw_topic` tells letters of raw records, whose position is a raw position. Raises BadRecord."""
    letter = dead_letter_pb2.DeadLetter()
    try:
        letter.ParseFromString(record.value or b"")
    except DecodeError:
        raise BadRecord(Reason.UNPARSEABLE, "the value is no DeadLetter") from None
    if not letter.dead_letter_id or letter.partition < 0 or letter.offset < 0:
        raise BadRecord(Reason.UNPARSEABLE, "no DeadLetter: id or position are missing")
    headers = {header.name: header.value for header in reversed(letter.headers)}
    raw_partition, raw_offset = _raw_position(letter, headers, raw_topic)
    return {
        "dead_letter_id": letter.dead_letter_id,
        "tenant_id": letter.tenant_id,
        "event_id": headers.get(h.EVENT_ID, b"").decode(errors="replace"),
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "raw_partition": raw_partition,
        "raw_offset": raw_offset,
        "stage": letter.stage,
        "reason": letter.reason,
        "message": letter.message,
        "first_seen": max(letter.first_seen_ns, 0),
        "letter": record.value,
    }


def _raw_position(letter: Any, headers: Mapping[str, bytes], raw_topic: str) -> tuple[int | None, int | None]:
    if letter.topic == raw_topic:
        return letter.partition, letter.offset
    try:
        enrichment = Enrichment.FromString(headers.get(h.ENRICHMENT, b""))
    except DecodeError:
        return None, None
    raw = enrichment.raw
    if not enrichment.HasField("raw") or raw.partition < 0 or raw.offset < 0:
        return None, None
    return raw.partition, raw.offset


def _parse(fact: Any, record: SourceRecord) -> None:
    try:
        fact.ParseFromString(record.value or b"")
    except DecodeError:
        raise BadRecord(Reason.INVALID_FACT, f"the value is no {type(fact).__name__}") from None


def _same_names(fact: Any, schema: pa.Schema) -> Row:
    """The fields whose name and type are those of a column."""
    plain = {field.name for field in fact.DESCRIPTOR.fields if field.message_type is None}
    return {name: getattr(fact, name) for name in schema.names if name in plain}


def _optional(fact: Any, field: str) -> float | None:
    return getattr(fact, field) if fact.HasField(field) else None


def _checked(row: Row, revision: int) -> Row:
    """Refuse numbers that are no revision or no position."""
    positions = [row.get(name) for name in row if name.endswith(("_partition", "_offset"))]
    if not 1 <= revision <= 255 or any(value is not None and value < 0 for value in positions):
        raise BadRecord(Reason.INVALID_FACT, "revision or source position out of range")
    return row
