"""What mapping costs: records to Arrow rows, against the same by message objects, and against inserting the rows."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from benchmarks.measure import Result, compare
from benchmarks.sink_records import records
from contracts.topics import Topics
from sink.migrate import migrate
from sink.parsed_rows import map_parsed
from sink.route import enriched
from sink.rows import map_events
from sink.store import Store
from sink.writer import arrow_insert

EVENTS = 50_000


def run() -> Iterator[Result]:
    # As the process does: see sink/__main__.py.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    sources = records(EVENTS, Topics("bench."))
    checked = [enriched(source) for source in sources]

    def map_all() -> pa.Table:
        return map_events(checked).table

    rows = map_all()
    with tempfile.TemporaryDirectory() as directory:
        store = Store.open(f"chdb:///{Path(directory)}", readers=1)
        try:
            migrate(store.settler)
            insert = arrow_insert(store.writer, 60)
            # Merges would be charged to whichever round they fall into.
            store.settler.command("SYSTEM STOP MERGES")

            def insert_all() -> None:
                insert("events", rows)

            yield compare(
                "sink-rows",
                "headers to checked records",
                lambda: [enriched(source) for source in sources],
                "bare insert_arrow",
                insert_all,
                events=EVENTS,
                rounds=3,
            )
            yield compare(
                "sink-rows",
                "rows by Arrow columns",
                map_all,
                "bare insert_arrow",
                insert_all,
                events=EVENTS,
                goal=0.3,
                rounds=3,
            )
            yield compare(
                "sink-rows",
                "rows by Arrow columns",
                map_all,
                "rows by message objects",
                lambda: map_parsed(checked),
                events=EVENTS,
                goal=0.5,
                rounds=5,
            )
        finally:
            store.close()
