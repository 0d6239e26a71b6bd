"""What mapping costs: records to Arrow rows, against the same one by one, and against inserting the rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from benchmarks.measure import Result, compare
from benchmarks.sink_records import records
from contracts.topics import Topics
from sink import garbage
from sink.migrate import migrate
from sink.parsed_rows import map_singly
from sink.rows import CHUNK, map_events
from sink.store import Store
from sink.told import told
from sink.writer import arrow_insert

EVENTS = 50_000


def run() -> Iterator[Result]:
    # As the process does: see sink/__main__.py.
    garbage.arrange(writes=True)
    sources = records(EVENTS, Topics("bench."))

    def map_all() -> pa.Table:
        return map_events(sources).table

    def headers_only() -> None:
        for start in range(0, EVENTS, CHUNK):
            told(sources[start : start + CHUNK])

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

            bare = "bare insert_arrow"
            yield compare(
                "sink-rows", "headers by Arrow columns", headers_only, bare, insert_all, events=EVENTS, rounds=3
            )
            yield compare(
                "sink-rows",
                "headers and rows by Arrow columns",
                map_all,
                bare,
                insert_all,
                events=EVENTS,
                goal=0.5,
                rounds=3,
            )
            yield compare(
                "sink-rows",
                "headers and rows by Arrow columns",
                map_all,
                "one by one",
                lambda: map_singly(sources),
                events=EVENTS,
                goal=0.4,
                rounds=5,
            )
        finally:
            store.close()
