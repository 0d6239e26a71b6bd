"""A store full of events in minutes: the engine makes the rows itself, in blocks, with 5 % of them sent again.

Thirty days of one tenant's events, in the order in which they arrive: five projects, sessions of 15 events of which 100 run
at once, payloads of about 600 bytes. One event in a thousand has the tag ``rare``; twenty, however many there are, have the word ``zebra``.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clickhouse_connect.driver.client import Client

from sink.migrate import migrate
from sink.query.daily import forget_all
from sink.store import Store

TENANT, PROJECTS = "bench", 5
SESSION_EVENTS, SESSIONS_AT_ONCE = 15, 100
DAYS = 30
RARE_EVENTS = 20
_DAY_NS = 86_400 * 10**9
BLOCK_ROWS = 250_000
#: Every so many events one is sent again, in the block after its own.
RESEND_EVERY = 20

_ROWS = """
INSERT INTO events (tenant_id, project_id, bucket, ts, event_id, session_id, span_id, trace_id, type, severity, status,
  effective_status, author, agent_id, agent_name, tags, tool_name, model, total_tokens, search_text, raw, received_at,
  raw_partition, raw_offset, content_sha256, canonical_sha256, ingested_at)
SELECT
  {{tenant:String}},
  concat('project-', toString(session % {projects})),
  toYYYYMM(ts),
  fromUnixTimestamp64Nano({{start_ns:Int64}} + intDiv(toInt128({{span_ns:Int64}}) * n, {{events:UInt64}})::Int64, 'UTC') AS ts,
  concat('evt-', lower(hex(sipHash128(n)))) AS event_id,
  concat('session-', lower(hex(sipHash64(session)))) AS session_id,
  lower(hex(sipHash64(n, 'span'))),
  lower(hex(sipHash128(session, 'trace'))),
  [1, 2, 10, 11, 20, 21, 20, 21, 22, 23, 40, 41, 60, 61, 30][1 + step],
  if(n % 97 = 0, 4, 2), if(step % 2, 3, 1), if(n % 97 = 0, 4, if(step % 2, 3, 1)), 2,
  concat('agent-', toString(session % 20)),
  concat('Agent ', toString(session % 20)),
  arrayConcat(['prod', concat('team-', toString(session % 10))], if(n % 1000 = 7, ['rare'], [])),
  if(step IN (8, 9), concat('tool-', toString(n % 30)), ''),
  if(step BETWEEN 4 AND 7, 'model-x', ''),
  if(step BETWEEN 4 AND 7, 100 + n % 900, 0),
  concat(arrayStringConcat(arrayMap(i -> concat('word', toString(sipHash64(n, i) % 20000)), range(12)), ' '),
    if(n % {{zebra:UInt64}} = 11, ' zebra', '')) AS search_text,
  concat(event_id, session_id, search_text, search_text, hex(sipHash128(n, 'a')), hex(sipHash128(n, 'b')), repeat('payload ', 20)),
  ts + toIntervalSecond(1 + {{again:UInt8}} * 3600) AS received_at,
  session % 8,
  n + {{again:UInt8}} * 1000000000,
  reinterpretAsFixedString(sipHash128(n))::String || reinterpretAsFixedString(sipHash128(n, 1))::String AS hash,
  hash,
  if({{live:UInt8}}, now64(6), toDateTime64(received_at, 6))
FROM
(
  SELECT
    number * {{stride:UInt64}} AS n,
    intDiv(n, {block}) * {at_once} + n % {at_once} AS session,
    intDiv(n % {block}, {at_once}) AS step
  FROM numbers({{first:UInt64}}, {{count:UInt64}})
)
""".format(projects=PROJECTS, block=SESSION_EVENTS * SESSIONS_AT_ONCE, at_once=SESSIONS_AT_ONCE)


def bench_events() -> int:
    """``BENCH_EVENTS``: how many events the larger store holds."""
    return int(os.environ.get("BENCH_EVENTS", "1000000"))


@contextmanager
def filled(events: int) -> Iterator[Store]:
    """A store with that many events; in ``BENCH_DIRECTORY`` it is kept for the next run."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(os.environ.get("BENCH_DIRECTORY") or temporary).absolute() / f"events-{events}"
        store = Store.open(f"chdb:///{directory}", readers=2)
        try:
            fill(store, events)
            yield store
        finally:
            store.close()


def start_ns(client: Client) -> int:
    """Unix nanoseconds of the first day's start, in UTC."""
    return int(client.query("SELECT toUnixTimestamp64Nano(min(ts)) FROM events").result_rows[0][0]) // _DAY_NS * _DAY_NS


def fill(store: Store, events: int) -> None:
    """Bring the store to `events` distinct events; does nothing when it has them already. Blocks for minutes at millions."""
    client = store.writer
    migrate(client)
    # The index of ids serves settling alone, and would double the time.
    client.command("DROP VIEW IF EXISTS event_ids_of_events")
    have = client.query("SELECT uniqExact(raw_offset) FROM events WHERE raw_offset < 1000000000").result_rows[0][0]
    if have >= events:  # more: a benchmark let some come in
        return
    client.command("TRUNCATE TABLE events")
    client.command("TRUNCATE TABLE event_stats_days")
    forget_all(client)
    start = (time.time_ns() // _DAY_NS - DAYS) * _DAY_NS
    for first, count in _blocks(events, BLOCK_ROWS):
        insert(client, events, start, first, count)
        insert(client, events, start, first // RESEND_EVERY, count // RESEND_EVERY, stride=RESEND_EVERY, again=1)
    settle_down(client)


def settle_down(client: Client, most_seconds: float = 300) -> None:
    """Wait for the engine's merges: a store that was just filled has parts that one filled over a month has not."""
    deadline = time.monotonic() + most_seconds
    quiet = 0
    while quiet < 5 and time.monotonic() < deadline:
        running = client.query("SELECT count() FROM system.merges").result_rows[0][0]
        quiet = 0 if running else quiet + 1
        time.sleep(0.3)


def insert(
    client: Client,
    events: int,
    start: int,
    first: int,
    count: int,
    *,
    stride: int = 1,
    again: int = 0,
    live: bool = False,
) -> None:
    """`count` events from number `first` on, of a stream that brings `events` in thirty days; in one block.

    `live`: the store takes them now, not when they happened.
    """
    parameters = {
        "tenant": TENANT,
        "start_ns": start,
        "span_ns": DAYS * _DAY_NS,
        "events": events,
        "zebra": max(events // RARE_EVENTS, 1),
        "first": first,
        "count": count,
        "stride": stride,
        "again": again,
        "live": int(live),
    }
    client.command(_ROWS, parameters=parameters)


def _blocks(total: int, rows: int) -> Iterator[tuple[int, int]]:
    for first in range(0, total, rows):
        yield first, min(rows, total - first)
