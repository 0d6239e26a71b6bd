"""From enriched records to rows of ``events``. Pure: no I/O, no clock; the same records give the same rows.

Identity and time of receipt come from the headers, position, hashes and what the processors found out from the header
``enrichment``; the rest from the client's bytes, which become the column ``raw`` unchanged. Headers and bytes are read
column by column (:mod:`sink.told`, :mod:`sink.columns`), a third of the price of reading each record by itself. What is not
plainly in order, and what the two ways could read differently, is mapped singly (:mod:`sink.parsed_rows`); protobuf's own
parser decides what is an Event at all, nested as a page of answers nests it: nothing that is stored can make a page unreadable.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.dead_letters import SourceRecord
from contracts.wire import parseable
from sink.columns import wire_columns
from sink.event_rows import SCHEMA, TIME, Mapped
from sink.parsed_rows import map_singly
from sink.times import buckets
from sink.told import Told, told
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


def map_events(records: Sequence[SourceRecord]) -> Mapped:
    """Rows for all records of the enriched topic that have one. Never raises for a bad record: it comes back in ``bad``."""
    done = [_chunk(records[start : start + CHUNK]) for start in range(0, len(records), CHUNK)]
    if not done:
        return map_singly(records)
    return Mapped(
        pa.concat_tables([part.table for part in done]),
        list(chain.from_iterable(part.rows for part in done)),
        list(chain.from_iterable(part.bad for part in done)),
        list(chain.from_iterable(part.marked for part in done)),
    )


def _chunk(records: Sequence[SourceRecord]) -> Mapped:
    try:
        heard = told(records)
        # The columns see only a part of a value; protobuf says what is an event.
        fast = heard.plain & np.array(parseable([record.value or b"" for record in records]), bool)
        if not fast.any():
            return map_singly(records)
        table, odd = _fast(_values(records, fast), heard.only(fast))
    except RefusedBatch:
        return map_singly(records)
    if odd.any():
        table = table.filter(pa.array(~odd))
        fast[np.flatnonzero(fast)[odd]] = False
    return Mapped(table, list(records)) if fast.all() else _with_singles(table, records, fast)


def _values(records: Sequence[SourceRecord], chosen: Any) -> list[bytes]:
    values = [record.value or b"" for record in records]
    return values if chosen.all() else [values[place] for place in np.flatnonzero(chosen)]


def _fast(values: list[bytes], heard: Told) -> tuple[pa.Table, Any]:
    """The rows, and which of them must be mapped singly. Raises RefusedBatch."""
    wire = wire_columns(values)
    times = np.where(wire.has_time, wire.times, heard.received_ns)
    columns = {
        **wire.columns,
        **heard.columns,
        "raw": pa.array(values, pa.binary()),
        "ts": pa.array(times).cast(TIME),
        "bucket": pa.array(buckets(times, heard.received_ns)),
        "cost_usd": pc.if_else(wire.costs_known, wire.costs, heard.columns["cost_usd"]),
    }
    _recovered(heard.recovered, columns)
    table = pa.Table.from_arrays([columns[name].cast(SCHEMA.field(name).type) for name in SCHEMA.names], schema=SCHEMA)
    same = pc.and_(pc.equal(wire.event_id, columns["event_id"]), pc.equal(wire.tenant_id, columns["tenant_id"]))
    return table, wire.odd | ~same.to_numpy(zero_copy_only=False)


def _with_singles(table: pa.Table, records: Sequence[SourceRecord], fast: Any) -> Mapped:
    """`table`, which has the rows of the `fast` records, with the others' where they belong."""
    kept = np.flatnonzero(fast).tolist()
    left = np.flatnonzero(~fast).tolist()
    slow = map_singly([records[place] for place in left])
    gone = {id(record) for record, _ in slow.bad} | {id(record.source) for record in slow.marked}
    added = [place for place in left if id(records[place]) not in gone]
    if not added:
        return Mapped(table, [records[place] for place in kept], slow.bad, slow.marked)
    places = kept + added
    order = sorted(range(len(places)), key=places.__getitem__)
    whole = pa.concat_tables([table, slow.table]).take(pa.array(order, pa.int64()))
    return Mapped(whole, [records[place] for place in sorted(places)], slow.bad, slow.marked)


def _recovered(recovered: pa.StructArray, columns: dict[str, pa.Array]) -> None:
    """What a failed END lost because ``error`` evicted its content; the event's own values stay."""
    if recovered.null_count == len(recovered):
        return
    for column, field in _RECOVERED:
        theirs = pc.fill_null(pc.struct_field(recovered, field), "")
        columns[column] = pc.if_else(pc.equal(columns[column], ""), theirs, columns[column])
