"""What settling costs: a pass over what has just come, in a store that is full, against inserting what has just come.

``BENCH_EVENTS`` and ``BENCH_DIRECTORY`` as in ``sink-queries``. Each round inserts a block of new events, then copies of stored
ones under another time, half of them with other content; one pass settles them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from clickhouse_connect.driver.client import Client
from prometheus_client import CollectorRegistry

from benchmarks.measure import Result
from benchmarks.sink_fill import bench_events, filled, insert, settle_down, start_ns
from sink.metrics import SinkMetrics
from sink.settle import Settler
from sink.sqlfiles import read_sql
from sink.store import Store

#: New events per round, and copies that lose per round: none, what a busy gateway's clients re-send, a bad day.
BLOCK, LOSING = 50_000, (0, 50, 500)
ROUNDS = 5

_COLUMNS = """event_id, session_id, span_id, trace_id, type, severity, status, effective_status, author, agent_id,
agent_name, tags, tool_name, model, total_tokens, search_text, raw"""
_COPIES = f"""
INSERT INTO events (tenant_id, project_id, bucket, ts, {_COLUMNS}, received_at, raw_partition, raw_offset, content_sha256,
  canonical_sha256)
SELECT tenant_id, project_id, bucket, ts + toIntervalMillisecond(1 + {{round:UInt32}}), {_COLUMNS},
  received_at + toIntervalHour(3), 9, {{round:UInt32}} * 1000000 + rowNumberInAllBlocks(),
  if(rowNumberInAllBlocks() % 2, content_sha256, reverse(content_sha256)::String::FixedString(32)),
  if(rowNumberInAllBlocks() % 2, canonical_sha256, reverse(canonical_sha256)::String::FixedString(32))
FROM events
WHERE raw_partition < 8 AND raw_offset < 1000000000 AND raw_offset % {{every:UInt64}} = {{round:UInt32}}
LIMIT {{copies:UInt32}}
"""


class Cost(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float


def run() -> Iterator[Result]:
    events = bench_events()
    small = {losing: settling for losing, settling, _ in _measure(events // 10)}
    for losing, settling, inserting in _measure(events):
        what = f"a pass over {BLOCK:,} new events, {losing} copies lose, {events:,} events"
        for unit, ours, theirs in (
            ("clock", settling.wall, inserting.wall),
            ("CPU", settling.cpu, inserting.cpu),
        ):
            yield Result("sink-settle", f"{what} ({unit})", "inserting the new events", ours, theirs, 1)
        yield Result("sink-settle", f"{what} (CPU)", f"{events // 10:,} events", settling.cpu, small[losing].cpu, 1)


def _measure(events: int) -> Iterator[tuple[int, Cost, Cost]]:
    with filled(events) as store:
        client = store.writer
        _index(client)
        settler = Settler(store.settler, SinkMetrics(CollectorRegistry()), margin_seconds=0)
        settler.settle()
        start, first, number = start_ns(client), _next(client, events), _rounds(client)
        for losing in LOSING:
            inserting: list[Cost] = []
            settling: list[Cost] = []
            for _ in range(ROUNDS):
                number += 1
                inserting.append(
                    _cost(partial(insert, client, events, start, first + number * BLOCK, BLOCK, live=True))
                )
                if losing:
                    _send_copies(store, events, losing, number)
                settling.append(_cost(settler.settle))
                time.sleep(1.1)  # ids are told apart by the second they came in
            yield losing, _median(settling), _median(inserting)


def _index(client: Client) -> None:
    """The index of ids as the view would have made it; a store that was filled for queries has none."""
    view = next(part for part in read_sql("migrations/0001_events.sql").split(";") if "MATERIALIZED VIEW" in part)
    client.command(view)
    (ids,) = client.query("SELECT count() FROM event_ids").result_rows[0]
    (rows,) = client.query("SELECT count() FROM events").result_rows[0]
    if ids < rows // 2:
        client.command(
            "INSERT INTO event_ids SELECT tenant_id, sipHash64(event_id), raw_partition, raw_offset, version, project_id, bucket, "
            "ts, event_hash, 0, ingested_at FROM events WHERE removed = 0",
            settings={"max_partitions_per_insert_block": 0},
        )
        client.insert("settle_progress", [["settle", int(time.time())]], column_names=["name", "settled_until"])
        settle_down(client)


def _next(client: Client, events: int) -> int:
    """The number of an event that is not there yet."""
    last = client.query("SELECT max(raw_offset) FROM events WHERE raw_partition < 8 AND raw_offset < 1000000000")
    return max(int(last.result_rows[0][0]), events) + 1


def _rounds(client: Client) -> int:
    """How many rounds of copies there were: the same copies would not lose again."""
    (last,) = client.query("SELECT max(raw_offset) FROM event_ids WHERE raw_partition = 9").result_rows[0]
    return int(last) // 1_000_000


def _send_copies(store: Store, events: int, losing: int, number: int) -> None:
    store.writer.command(
        _COPIES, parameters={"every": max(events // losing // 2, 1), "round": number, "copies": losing}
    )


def _cost(job: Callable[[], object]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def _median(costs: list[Cost]) -> Cost:
    return Cost(statistics.median(cost.wall for cost in costs), statistics.median(cost.cpu for cost in costs))
