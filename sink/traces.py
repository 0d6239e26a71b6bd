"""The spans of an insert: one in the trace of each sampled call whose records are in the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from contracts.traceparent import Seen
from runtime.tracing import note
from sink.prepare import Prepared

if TYPE_CHECKING:
    from runtime.spans import Tracing


def inserted(tracing: Tracing, prepared: Prepared, started_ns: int, problem: str) -> None:
    """The insert of `prepared` is over; `problem`: why it was given up."""
    attributes: dict[str, str | int] = {
        "db.system.name": "clickhouse",
        "db.operation.name": "INSERT",
        "db.collection.name": "events",
        "chaukas.batch.records": prepared.records,
    }
    tracing.batch("INSERT events", "CLIENT", calls_of(prepared), started_ns, attributes, problem)


def calls_of(prepared: Prepared) -> Seen:
    """Trace contexts of the events in `prepared`, marked copies included, with their numbers. Pure."""
    seen: Seen = {}
    for table in prepared.tables:
        if table.name == "events":  # by columns: what is asked of each is asked of each distinct one
            for one in pc.value_counts(table.rows.column("traceparent").combine_chunks()).to_pylist():
                if one["values"]:
                    seen[one["values"].encode()] = one["counts"]
        elif table.name in ("resends", "conflicts"):
            for source in table.sources:
                note(source, seen)
    return seen
