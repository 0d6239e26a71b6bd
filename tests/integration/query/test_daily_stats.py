"""Statistics from counted days say at every moment what a recount says, whatever came, went, was killed or ran beside."""

from __future__ import annotations

import asyncio
import math
import random
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1.server_pb2 import GetEventStatsRequest, GetEventStatsResponse

from contracts.identity import Identity, Scope
from sink.query import daily
from sink.query.builder import Statement
from sink.query.daily import DailyStats, forget_all, forget_days
from sink.query.engine import Deadline, Engine
from sink.query.stats import EventStats
from sink.store import Store
from tests.integration.query import model
from tests.support.stored import Copy, insert_copies

DAY_NS = 86_400 * 10**9
FIRST_DAY_NS = 20_000 * DAY_NS
KEY = Identity("t", None, frozenset({Scope.QUERY}))


@pytest.fixture(autouse=True)
def empty(store: Store) -> None:
    forget_all(store.settler)
    store.settler.command("TRUNCATE TABLE event_stats_days")


class Dying:
    """A client that is gone after so many commands."""

    def __init__(self, client: Any, commands: int) -> None:
        self._client = client
        self._left = commands
        self.query = client.query

    def command(self, *arguments: Any, **options: Any) -> None:
        if self._left == 0:
            raise OSError("killed")
        self._left -= 1
        self._client.command(*arguments, **options)


class Recorder(Engine):
    """Knows which statements ran; `between` runs before the statement over counted days."""

    between: Any = None

    async def rows(self, statement: Statement, deadline: Deadline) -> Sequence[Sequence[Any]]:
        self.asked = [*getattr(self, "asked", []), statement.sql]
        if "used_days" in statement.sql and "seen_us" not in statement.parameters:
            self.days_statements = getattr(self, "days_statements", 0) + 1
            if self.between is not None:
                await asyncio.to_thread(self.between)
        return await super().rows(statement, deadline)


def counter(store: Store, client: Any = None) -> DailyStats:
    return DailyStats(client or store.settler, margin_seconds=0, rest_seconds=0)


def event(rng: random.Random, number: int) -> pb.Event:
    made = pb.Event(
        event_id=f"e{number}",
        tenant_id=rng.choice(["t", "t", "t", "u"]),
        project_id=rng.choice(["p", "q"]),
        session_id=rng.choice(["", "s1", "s2", "s3"]),
        type=rng.choice([pb.EVENT_TYPE_ERROR, pb.EVENT_TYPE_SESSION_START, 77, -3]),
    )
    at = rng.choice([FIRST_DAY_NS, FIRST_DAY_NS + 3 * DAY_NS - 1, -5 * 10**17, -1, model.MIN_NS, model.MAX_NS])
    at = at if rng.random() < 0.2 else FIRST_DAY_NS + rng.randrange(3 * DAY_NS)
    made.timestamp.seconds, made.timestamp.nanos = divmod(at, 10**9)
    return made


def tombstone(store: Store, copy: Copy) -> None:
    """As settling hides a copy that lost."""
    store.settler.command(
        "INSERT INTO events (tenant_id, project_id, bucket, ts, event_id, canonical_sha256, received_at, raw_partition, "
        "raw_offset, version, removed) SELECT tenant_id, project_id, bucket, ts, event_id, canonical_sha256, received_at, "
        "raw_partition, raw_offset, version + 1, 1 FROM events FINAL WHERE tenant_id = {tenant:String} AND event_id = {id:String}",
        parameters={"tenant": copy.event.tenant_id, "id": copy.event.event_id},
    )


def ask(engine: Engine, request: GetEventStatsRequest) -> model.Stats:
    data = asyncio.run(EventStats(engine).get_event_stats(KEY, request, Deadline.after(30)))
    answer = GetEventStatsResponse.FromString(data)
    return model.Stats(
        answer.total_events, answer.total_sessions, dict(answer.events_by_type), answer.avg_session_duration_ms
    )


def some_request(rng: random.Random) -> GetEventStatsRequest:
    request = GetEventStatsRequest(project_id=rng.choice(["", "", "p"]))
    edges = [FIRST_DAY_NS, FIRST_DAY_NS + DAY_NS, FIRST_DAY_NS + 2 * DAY_NS + 5, FIRST_DAY_NS + 4 * DAY_NS - 1]
    start, end = sorted(rng.sample(edges, 2))
    for field, value in (("start", start), ("end", end)):
        if rng.random() < 0.5:
            stamp = getattr(request.time_range, field)
            stamp.seconds, stamp.nanos = divmod(value, 10**9)
    return request


def a_day(day: int, project: str = "") -> GetEventStatsRequest:
    """The whole of the `day`-th day, and nothing else."""
    request = GetEventStatsRequest(project_id=project)
    request.time_range.start.seconds = (FIRST_DAY_NS + day * DAY_NS) // 10**9
    request.time_range.end.seconds = (FIRST_DAY_NS + (day + 1) * DAY_NS) // 10**9
    return request


def expected(copies: Sequence[Copy], gone: set[str], request: GetEventStatsRequest) -> model.Stats:
    return model.statistics(
        [
            copy
            for copy in model.stored(copies)
            if copy.event.tenant_id == "t"
            and copy.event.event_id not in gone
            and request.project_id in ("", copy.event.project_id)
            and model.in_range(model.stored_time(copy), request.time_range)
        ]
    )


def check(engine: Engine, copies: Sequence[Copy], gone: set[str], request: GetEventStatsRequest) -> None:
    answer, right = ask(engine, request), expected(copies, gone, request)
    assert (answer.total, answer.sessions, answer.by_type) == (right.total, right.sessions, right.by_type)
    assert math.isclose(answer.average_ms, right.average_ms, rel_tol=1e-12)


@pytest.mark.parametrize("seed", range(2))
def test_every_answer_between_inserts_copies_tombstones_passes_and_kills_is_a_recount(
    store: Store, settings: Any, seed: int
) -> None:
    rng = random.Random(seed)
    engine = Recorder(store, settings)
    copies: list[Copy] = []
    gone: set[str] = set()
    for step in range(18):
        action = rng.choice(["insert", "insert", "resend", "tombstone", "pass", "pass", "kill"])
        if action == "insert" or not copies:
            new = [
                Copy(event(rng, 100 * step + number), 0, 100 * step + number, FIRST_DAY_NS + step)
                for number in range(5)
            ]
            insert_copies(store, new)
            copies += new
        elif action == "resend":
            again = [
                Copy(copy.event, 1, 100 * step, FIRST_DAY_NS + 40 * DAY_NS + step)
                for copy in rng.choices(copies, k=3)
                if copy.event.event_id not in gone
            ]
            if again:
                insert_copies(store, again)
                copies += again
        elif action == "tombstone":
            lost = rng.choice(copies)
            tombstone(store, lost)
            gone.add(lost.event.event_id)
        elif action == "pass":
            counter(store).refresh()
        else:
            try:
                counter(store, Dying(store.settler, rng.randrange(4))).refresh()
            except OSError:
                pass  # the pass was cut off, which is what is tested
        for _ in range(2):
            check(engine, copies, gone, some_request(rng))
        check(engine, copies, gone, a_day(rng.randrange(4), rng.choice(["", "p"])))
    counter(store).refresh()
    before = getattr(engine, "days_statements", 0)
    check(engine, copies, gone, GetEventStatsRequest())
    assert engine.days_statements == before + 1, "counted days were used"
    for day in range(3):
        engine.asked.clear()
        check(engine, copies, gone, a_day(day))
        assert ["AS usable" in sql for sql in engine.asked] == [False, True], "a day at rest is one statement"


def test_a_day_whose_sessions_together_last_longer_than_an_int64(store: Store, settings: Any) -> None:
    """A hundred and twenty thousand sessions of a day each, written by hand into its count."""
    store.settler.command(
        "INSERT INTO event_stats_days (tenant_id, project_id, day, generation, valid, touched_at, entries.kind, "
        "entries.session_id, entries.type, entries.events, entries.first_ns, entries.last_ns) SELECT 't', 'p', "
        "toDate32(20000), 1, 1, now64(6), arrayMap(n -> 0, range(120000)), arrayMap(n -> toString(n + 1), range(120000)), "
        "arrayMap(n -> 0, range(120000)), arrayMap(n -> 0, range(120000)), arrayMap(n -> {first:Int64}, range(120000)), "
        "arrayMap(n -> {last:Int64}, range(120000))",
        parameters={"first": FIRST_DAY_NS, "last": FIRST_DAY_NS + DAY_NS - 1},
    )
    counter(store).refresh()
    answer = ask(Recorder(store, settings), a_day(0))
    assert answer.sessions == 120_000
    assert math.isclose(answer.average_ms, 86_400_000, rel_tol=1e-9)


def test_a_day_that_is_marked_between_plan_and_answer_makes_a_new_plan(
    store: Store, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Recorder(store, settings)
    copies = [Copy(event(random.Random(number), number), 0, number) for number in range(40)]
    for copy in copies:
        copy.event.tenant_id, copy.event.project_id = "t", "p"
        copy.event.timestamp.seconds = FIRST_DAY_NS // 10**9
    copies[0].event.timestamp.seconds += 86_400
    insert_copies(store, copies[:39])
    counter(store).refresh()

    def once() -> None:
        engine.between = None
        insert_copies(store, copies[39:])
        monkeypatch.setattr(daily, "DAYS_PER_PASS", 0)
        counter(store).refresh()

    engine.between = once
    check(engine, copies, set(), GetEventStatsRequest())
    assert engine.days_statements == 2


def test_a_mark_that_was_made_during_counting_wins(store: Store, settings: Any, monkeypatch: Any) -> None:
    """The count is of before: the event came, and was marked by another process, while the day was counted."""
    engine = Recorder(store, settings)
    copies = [Copy(event(random.Random(1), number), 0, number) for number in range(2)]
    for copy in copies:
        copy.event.tenant_id = "t"
        copy.event.timestamp.seconds = FIRST_DAY_NS // 10**9
    insert_copies(store, copies[:1])
    first = counter(store)
    real = first._command

    def late(name: str, **parameters: Any) -> None:
        if name == "count_day":
            # What another process's pass does meanwhile; the count itself read the events before.
            real(name, **parameters)
            insert_copies(store, copies[1:])
            with monkeypatch.context() as patch:
                patch.setattr(daily, "DAYS_PER_PASS", 0)
                counter(store).refresh()
        real(name, **parameters)

    stale = store.settler.query("SELECT count() FROM events").result_rows
    assert stale == [(1,)]
    monkeypatch.setattr(first, "_command", late)
    first.refresh()
    check(engine, copies, set(), GetEventStatsRequest())


@pytest.mark.parametrize("tenant", ["t", ""])
def test_events_that_were_taken_away_are_counted_again(store: Store, settings: Any, tenant: str) -> None:
    engine = Recorder(store, settings)
    copies = [Copy(event(random.Random(number), number), 0, number) for number in range(30)]
    insert_copies(store, copies)
    counter(store).refresh()
    store.settler.command("DELETE FROM events WHERE event_id IN ('e1', 'e2', 'e3')")
    forget_days(store.settler, tenant)
    check(engine, copies, {"e1", "e2", "e3"}, GetEventStatsRequest())
    counter(store).refresh()
    check(engine, copies, {"e1", "e2", "e3"}, GetEventStatsRequest())


def test_a_clock_that_went_back_forgets_what_was_counted(store: Store, settings: Any) -> None:
    engine = Recorder(store, settings)
    copies = [Copy(event(random.Random(number), number), 0, number) for number in range(30)]
    insert_copies(store, copies[:20])
    counter(store).refresh()
    store.settler.command("INSERT INTO event_stats_progress SELECT 'days', now64(6) + toIntervalHour(1)")
    insert_copies(store, copies[20:])
    check(engine, copies, set(), GetEventStatsRequest())
    assert counter(store).refresh() == 0
    assert store.settler.query("SELECT count() FROM event_stats_progress").result_rows == [(0,)]
    check(engine, copies, set(), GetEventStatsRequest())
    counter(store).refresh()
    check(engine, copies, set(), GetEventStatsRequest())


def test_an_open_stream_beside_queries_and_passes(store: Store, settings: Any) -> None:
    """Every answer counts at least what was there when it was asked for, and at most what was there when it came."""
    engine = Recorder(store, settings)
    inserted = [0, 0]  # begun, done

    def stream() -> None:
        for block in range(15):
            rng = random.Random(block)
            copies = [Copy(event(rng, 10 * block + number), 0, 10 * block + number) for number in range(10)]
            for copy in copies:
                copy.event.tenant_id = "t"
            inserted[0] += 10
            insert_copies(store, copies + copies[:3])
            inserted[1] += 10

    thread = threading.Thread(target=stream)
    thread.start()
    client = DailyStats(store.settler, margin_seconds=0, rest_seconds=0)
    answers = 0
    while thread.is_alive():
        client.refresh()
        least = inserted[1]
        total = ask(engine, GetEventStatsRequest()).total
        assert least <= total <= inserted[0]
        answers += 1
    thread.join()
    client.refresh()
    assert ask(engine, GetEventStatsRequest()).total == 150
    assert answers > 1
