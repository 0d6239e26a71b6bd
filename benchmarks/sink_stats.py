"""GetEventStats, exact, against counting the events again by one statement; 5 % of them are there twice, and more are
coming in meanwhile.

``BENCH_EVENTS`` and ``BENCH_DIRECTORY`` as in ``sink-queries``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from chaukas.spec.server.v1.server_pb2 import GetEventStatsRequest, GetEventStatsResponse

from benchmarks.measure import Result, compare_wall
from benchmarks.sink_fill import DAYS, TENANT, bench_events, filled, insert, start_ns
from contracts.identity import Identity, Scope
from runtime.settings import SinkSettings, load
from sink.query import identity
from sink.query.builder import event_stats
from sink.query.daily import DailyStats, forget_all
from sink.query.engine import Deadline, Engine
from sink.query.ranges import NsRange
from sink.query.stats import EventStats
from sink.store import Store

_DAY_NS = 86_400 * 10**9
_CALLER = Identity(TENANT, None, frozenset({Scope.QUERY}))
#: Of the stream beside: events per block, and seconds between blocks.
_BLOCK, _PAUSE_SECONDS = 500, 0.25


def run() -> Iterator[Result]:
    events = bench_events()
    with filled(events) as store, asyncio.Runner() as runner:
        count_days(store)
        engine = Engine(store, load(SinkSettings))
        stats = EventStats(engine)
        day = start_ns(store.writer) + DAYS // 2 * _DAY_NS
        ranges = {
            "a day": NsRange(day, day + _DAY_NS),
            "a day and parts of two": NsRange(day - _DAY_NS // 10, day + _DAY_NS + _DAY_NS // 10),
            "a week": NsRange(day, day + 7 * _DAY_NS),
            "all": NsRange(),
        }
        with _stream(store, events):
            for name, bounds in ranges.items():
                ours, theirs = compare_wall(_ours(runner, stats, bounds), _recount(runner, engine, bounds), rounds=9)
                what = f"GetEventStats, {name}, {events:,} events (clock)"
                yield Result("sink-stats", what, "one statement over the events", ours, theirs, 1)
        for bounds in ranges.values():
            answer = GetEventStatsResponse.FromString(_ours(runner, stats, bounds)(0))
            ((counted, sessions, *_),) = _recount(runner, engine, bounds)(0)
            assert (answer.total_events, answer.total_sessions) == (counted, sessions)


def _ours(runner: asyncio.Runner, stats: EventStats, bounds: NsRange) -> Callable[[int], Any]:
    request = GetEventStatsRequest()
    for name, value in (("start", bounds.start), ("end", bounds.end)):
        if value is not None:
            getattr(request.time_range, name).FromNanoseconds(value)
    return lambda _: runner.run(stats.get_event_stats(_CALLER, request, Deadline.after(60)))


def _recount(runner: asyncio.Runner, engine: Engine, bounds: NsRange) -> Callable[[int], Any]:
    statement = event_stats(identity.Scope(TENANT, None), bounds)
    return lambda _: runner.run(engine.rows(statement, Deadline.after(60)))


def count_days(store: Store) -> None:
    """As the background task of a sink that has been running all along."""
    forget_all(store.settler)
    daily = DailyStats(store.settler, margin_seconds=0, rest_seconds=0)
    while daily.refresh():
        pass


@contextmanager
def _stream(store: Store, events: int) -> Iterator[None]:
    """Events of today come in."""
    ended = threading.Event()
    start = start_ns(store.writer)

    def stream() -> None:
        first = events
        while not ended.wait(_PAUSE_SECONDS):
            insert(store.writer, events, start, first, _BLOCK, live=True)
            first += _BLOCK

    thread = threading.Thread(target=stream)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
