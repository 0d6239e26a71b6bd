"""What merges cost, by the size of the blocks that are inserted: the reason for SINK_BATCH_AGE_SECONDS and SINK_BATCH_ROWS.

The same rows in blocks of several sizes, each twice into a store of its own: with merges stopped, and with merges until they
come to rest. The difference of CPU time is what merging costs.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from benchmarks.measure import Result
from benchmarks.sink_records import records
from contracts.topics import Topics
from sink.migrate import migrate
from sink.rows import map_events
from sink.store import Store
from sink.writer import arrow_insert

EVENTS = int(os.environ.get("BENCH_EVENTS", "400000"))
BLOCKS = (50_000, 20_000, 10_000, 5_000)
QUIET_LOOKS, LOOK_SECONDS = 8, 0.25


def run() -> Iterator[Result]:
    rows = map_events(records(EVENTS, Topics("bench."))).table.combine_chunks()
    baseline = 0.0
    for block in BLOCKS:
        alone, _ = _insert(rows, block, merges=False)
        together, rewritten = _insert(rows, block, merges=True)
        baseline = baseline or together
        merging = f"{(together - alone) / EVENTS * 1e6:.1f} µs an event of it merging, each row {rewritten:.1f} times"
        yield Result(
            "sink-merges",
            f"inserting and merging, blocks of {block} ({merging})",
            f"blocks of {BLOCKS[0]}",
            together,
            baseline,
            EVENTS,
        )


def _insert(rows: pa.Table, block: int, *, merges: bool) -> tuple[float, float]:
    """CPU seconds of this process, and how often merges wrote a row of `events` or `event_ids` again, on average."""
    with tempfile.TemporaryDirectory() as directory:
        store = Store.open(f"chdb:///{Path(directory)}", readers=1)
        try:
            migrate(store.settler)
            if not merges:
                store.settler.command("SYSTEM STOP MERGES")
            insert = arrow_insert(store.writer, 60)
            merged = _merged(store)
            started = time.process_time()
            for start in range(0, EVENTS, block):
                insert("events", rows.slice(start, block))
            if merges:
                _wait_for_rest(store)
            return time.process_time() - started, (_merged(store) - merged) / EVENTS / 2
        finally:
            store.close()


def _merged(store: Store) -> int:
    found = store.settler.query("SELECT value FROM system.events WHERE event = 'MergedRows'").result_rows
    return int(found[0][0]) if found else 0


def _wait_for_rest(store: Store) -> None:
    quiet = 0
    while quiet < QUIET_LOOKS:
        running = store.settler.query("SELECT count() FROM system.merges").result_rows[0][0]
        quiet = 0 if running else quiet + 1
        time.sleep(LOOK_SECONDS)
