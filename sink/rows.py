"""From enriched records to rows of ``events``. Pure: no I/O, no clock; the same records give the same rows.

Identity and time of receipt come from the headers, position, hashes and what the processors found out from the header
``enrichment``; the rest from the client's bytes, which become the column ``raw`` unchanged. Those bytes are read column by
column (:mod:`sink.columns`), a third of the price of reading them from a message object each. Protobuf's own parser decides
wherever the two could differ: what is an Event at all, and the rows that the fast way calls odd.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from chaukas.spec.common.v1.events_pb2 import Event
from google.protobuf.message import DecodeError

from sink.columns import WireColumns, wire_columns
from sink.event_rows import SCHEMA, SHA256, TIME, Mapped, parse_event
from sink.parsed_rows import map_parsed
from sink.route import BadRecord, Enriched
from sink.times import buckets
from sink.wire_view import RefusedBatch

#: Events read at once; more fall out of the cache, fewer pay for the columns.
CHUNK = 8_000

#: Column, and the field of `recovered` that fills it where the event itself says nothing.
_RECOVERED = (
    ("mcp_server", "mcp_server_name"),
    ("mcp_operation", "mcp_operation"),
    ("model_provider", "model_provider"),
    ("model", "model"),
    ("tool_name", "tool_name"),
    ("function_name", "function_name"),
)


def map_events(records: Sequence[Enriched]) -> Mapped:
    """Rows for all records that have one. Never raises for a bad record: it comes back in ``bad``."""
    done = [_chunk(records[start : start + CHUNK]) for start in range(0, len(records), CHUNK)]
    if not done:
        return map_parsed(records)
    table = pa.concat_tables([part.table for part in done])
    return Mapped(table, [row for part in done for row in part.rows], [bad for part in done for bad in part.bad])


def _chunk(records: Sequence[Enriched]) -> Mapped:
    good, bad = _parseable(records)
    try:
        mapped = _fast(good)
    except RefusedBatch:
        mapped = map_parsed(good)
    mapped.bad = bad + mapped.bad
    return mapped


def _parseable(records: Sequence[Enriched]) -> tuple[Sequence[Enriched], list[tuple[Enriched, BadRecord]]]:
    """The records whose whole value protobuf can parse; the columns see only a part of it. Costs 0.6 µs an event."""
    try:
        deque(map(Event.FromString, [record.value for record in records]), maxlen=0)
    except DecodeError:
        pass
    else:
        return records, []
    good: list[Enriched] = []
    bad: list[tuple[Enriched, BadRecord]] = []
    for record in records:
        try:
            parse_event(record)
        except BadRecord as error:
            bad.append((record, error))
        else:
            good.append(record)
    return good, bad


def _fast(records: Sequence[Enriched]) -> Mapped:
    """Raises RefusedBatch."""
    if not records:
        return map_parsed(records)
    wire = wire_columns([record.value for record in records])
    columns = {**wire.columns, **_told(records), **_times(records, wire)}
    columns["cost_usd"] = pc.if_else(wire.costs_known, wire.costs, columns["cost_usd"])
    _recovered(records, columns)
    table = pa.Table.from_arrays([columns[name].cast(SCHEMA.field(name).type) for name in SCHEMA.names], schema=SCHEMA)
    same = pc.and_(pc.equal(wire.event_id, columns["event_id"]), pc.equal(wire.tenant_id, columns["tenant_id"]))
    odd = wire.odd | ~same.to_numpy(zero_copy_only=False)
    return _with_odd(table, records, odd) if odd.any() else Mapped(table, list(records))


def _with_odd(table: pa.Table, records: Sequence[Enriched], odd: Any) -> Mapped:
    """`table` with the odd rows mapped the plain way instead, in the records' order."""
    kept = np.flatnonzero(~odd).tolist()
    left = np.flatnonzero(odd).tolist()
    slow = map_parsed([records[place] for place in left])
    refused = {id(record) for record, _ in slow.bad}
    places = kept + [place for place in left if id(records[place]) not in refused]
    order = sorted(range(len(places)), key=places.__getitem__)
    whole = pa.concat_tables([table.take(pa.array(kept, pa.int64())), slow.table]).take(pa.array(order, pa.int64()))
    return Mapped(whole, [records[place] for place in sorted(places)], slow.bad)


def _told(records: Sequence[Enriched]) -> dict[str, pa.Array]:
    """The columns that the gateway and the processors told in headers."""
    headers = [record.headers for record in records]
    found = [record.enrichment for record in records]
    positions = [enrichment.raw for enrichment in found]
    durations = [one.duration_ms if one.HasField("duration_ms") else None for one in found]
    costs = [one.cost_usd if one.HasField("cost_usd") else None for one in found]
    return {
        "tenant_id": pa.array([header.tenant_id for header in headers], pa.string()),
        "project_id": pa.array([header.project_id for header in headers], pa.string()),
        "event_id": pa.array([header.event_id for header in headers], pa.string()),
        "batch_id": pa.array([header.batch_id or "" for header in headers], pa.string()),
        "traceparent": pa.array([header.traceparent or "" for header in headers], pa.string()),
        "raw": pa.array([record.value for record in records], pa.binary()),
        "effective_status": pa.array([one.effective_status for one in found], pa.int32()),
        "duration_ms": pa.array(durations, pa.float64()),
        "cost_usd": pa.array(costs, pa.float64()),
        "raw_partition": pa.array([position.partition for position in positions], pa.uint32()),
        "raw_offset": pa.array([position.offset for position in positions], pa.uint64()),
        "content_sha256": pa.array([one.content_sha256 for one in found], SHA256),
        "canonical_sha256": pa.array([one.canonical_sha256 for one in found], SHA256),
    }


def _times(records: Sequence[Enriched], wire: WireColumns) -> dict[str, pa.Array]:
    received = np.array([record.headers.received_at_ns for record in records], np.int64)
    times = np.where(wire.has_time, wire.times, received)
    return {
        "received_at": pa.array(received).cast(TIME),
        "ts": pa.array(times).cast(TIME),
        "bucket": pa.array(buckets(times, received)),
    }


def _recovered(records: Sequence[Enriched], columns: dict[str, pa.Array]) -> None:
    """What a failed END lost because ``error`` evicted its content; the event's own values stay."""
    places = [place for place, record in enumerate(records) if record.enrichment.HasField("recovered")]
    if not places:
        return
    recovered = [records[place].enrichment.recovered for place in places]
    mask = np.zeros(len(records), bool)
    mask[places] = True
    for column, field in _RECOVERED:
        told = [getattr(one, field) for one in recovered]
        own = columns[column].take(pa.array(places)).to_pylist()
        best = pa.array([mine or theirs for mine, theirs in zip(own, told, strict=True)], pa.string())
        columns[column] = pc.replace_with_mask(columns[column], pa.array(mask), best)
