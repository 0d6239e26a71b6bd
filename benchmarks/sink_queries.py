"""QueryEvents against the SQL that somebody would write by hand for the same page, and against itself on a tenth of the store.

``BENCH_EVENTS`` (1,000,000) is the larger store's size. ``BENCH_DIRECTORY`` keeps the stores between runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from chaukas.spec.common.v1.query_pb2 import QueryFilter
from chaukas.spec.server.v1.server_pb2 import QueryEventsRequest

from benchmarks.measure import Result, compare_wall, cpu_seconds
from benchmarks.sink_fill import DAYS, TENANT, bench_events, filled, start_ns
from contracts.identity import Identity, Scope
from runtime.settings import SinkSettings, load
from sink.query import identity
from sink.query.builder import Statement
from sink.query.engine import Deadline, Engine
from sink.query.events import EventQueries
from sink.query.pages import TokenCodec, binding
from sink.store import Store

_DAY_NS = 86_400 * 10**9
_CALLER = Identity(TENANT, None, frozenset({Scope.QUERY}))
_SCOPE = identity.Scope(TENANT, None)
_CODEC = TokenCodec(b"k" * 32)
GOAL = 1.5

_BARE = """
SELECT raw FROM events FINAL WHERE tenant_id = {{tenant:String}} {where}
ORDER BY ts DESC, event_hash DESC, project_id DESC LIMIT 100
"""


@dataclass(frozen=True)
class Case:
    name: str
    filters: QueryFilter
    #: The same as conditions of the bare SQL.
    where: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    #: Unix nanoseconds where the page starts; None: the first page.
    after_ns: int | None = None


def _cases(store: Store) -> list[Case]:
    middle = start_ns(store.writer) + DAYS // 2 * _DAY_NS
    query = "SELECT session_id FROM events WHERE ts >= fromUnixTimestamp64Nano({ns:Int64}) LIMIT 1"
    session = store.writer.query(query, parameters={"ns": middle}).result_rows[0][0]
    at = "fromUnixTimestamp64Nano({ns:Int64}, 'UTC')"
    return [
        Case("newest page", QueryFilter()),
        Case("newest page of a project", QueryFilter(project_id="project-1"), "AND project_id = 'project-1'"),
        Case(
            "deep page",
            QueryFilter(),
            f"AND ts <= {at} AND (ts, event_hash) < ({at}, 0)",
            {"ns": middle},
            middle,
        ),
        Case("one session", QueryFilter(session_id=session), "AND session_id = {session:String}", {"session": session}),
        Case("rare word", QueryFilter(text_query="zebra"), "AND hasAllTokens(lowerUTF8(search_text), 'zebra')"),
        Case("tag", QueryFilter(tags=["rare"]), "AND has(tags, 'rare')"),
    ]


def run() -> Iterator[Result]:
    events = bench_events()
    small = {name: (ours, cpu) for name, ours, _, cpu in _measure(events // 10)}
    for name, ours, bare, cpu in _measure(events):
        what, smaller = f"QueryEvents, {name}, {events:,} events", f"{events // 10:,} events"
        yield Result("sink-queries", f"{what} (clock)", "bare SQL", ours, bare, 1, GOAL)
        yield Result("sink-queries", f"{what} (clock)", smaller, ours, small[name][0], 1, GOAL)
        yield Result("sink-queries", f"{what} (CPU)", smaller, cpu, small[name][1], 1, GOAL)


def _measure(events: int) -> Iterator[tuple[str, float, float, float]]:
    """Name, seconds on the clock of ours and of the bare SQL, CPU seconds of ours."""
    with filled(events) as store, asyncio.Runner() as runner:
        engine = Engine(store, load(SinkSettings))
        queries = EventQueries(engine, _CODEC)
        for case in _cases(store):
            ours = _ours(runner, queries, case)
            yield case.name, *compare_wall(ours, _bare(runner, engine, case)), cpu_seconds(ours)


def _ours(runner: asyncio.Runner, queries: EventQueries, case: Case) -> Callable[[int], object]:
    request = QueryEventsRequest()
    request.query.filter.CopyFrom(case.filters)
    scope = _SCOPE if not case.filters.project_id else identity.Scope(TENANT, (case.filters.project_id,))
    if case.after_ns is not None:
        bound_to = binding("events", scope, case.filters, ascending=False)
        request.query.page_token = _CODEC.encode(bound_to, (case.after_ns, 0, ""))
    return lambda _: runner.run(queries.query_events(_CALLER, request, Deadline.after(60)))


def _bare(runner: asyncio.Runner, engine: Engine, case: Case) -> Callable[[int], object]:
    statement = Statement(_BARE.format(where=case.where), {"tenant": TENANT, **case.parameters})
    return lambda _: runner.run(engine.rows(statement, Deadline.after(60)))
