"""Tenants take turns at the store: counted by the order in which their queries run."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from contracts.errors import Overloaded
from runtime.settings import SinkSettings, load
from sink.query.engine import Deadline
from sink.query.errors import QueryTimedOut
from sink.query.server import turn_rules
from sink.query.turns import TurnRules, Turns


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Store:
    """Queries that run until they are let go, in the order in which they began."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.began: list[str] = []
        self.running: dict[str, list[asyncio.Event]] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def ask(self, tenant: str, seconds: float = 60) -> asyncio.Task[None]:
        async def query() -> None:
            async with self.turns.turn(tenant, Deadline.after(seconds)):
                self.began.append(tenant)
                gate = asyncio.Event()
                self.running.setdefault(tenant, []).append(gate)
                await gate.wait()

        task = asyncio.create_task(query())
        self.tasks.append(task)
        return task

    async def end_one(self, tenant: str) -> None:
        self.running[tenant].pop(0).set()
        await settle()

    async def end_all(self) -> None:
        while any(self.running.values()):
            for tenant in list(self.running):
                while self.running[tenant]:
                    await self.end_one(tenant)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def store(clients: int = 4, tenant_clients: int = 3, waiting: int = 100, seconds: float = 0.0) -> Store:
    return Store(Turns(TurnRules(clients, tenant_clients, waiting, seconds)))


async def test_a_quiet_tenant_does_not_wait_for_a_noisy_one() -> None:
    under_test = store()
    for _ in range(50):
        under_test.ask("noisy")
    await settle()
    assert Counter(under_test.began) == {"noisy": 3}
    under_test.ask("quiet")
    await settle()
    assert under_test.began[-1] == "quiet", "while all the noisy one's first queries still run"
    await under_test.end_all()
    assert Counter(under_test.began) == {"noisy": 50, "quiet": 1}


async def test_tenants_take_turns_whatever_they_have_waiting() -> None:
    under_test = store(clients=1, tenant_clients=1)
    for tenant, count in (("a", 40), ("b", 40), ("c", 4)):
        for _ in range(count):
            under_test.ask(tenant)
    await settle()
    while sum(map(len, under_test.running.values())):
        (busy,) = [tenant for tenant, gates in under_test.running.items() if gates]
        await under_test.end_one(busy)
    # The very first was alone when it came.
    assert Counter(under_test.began[1:13]) == {"a": 4, "b": 4, "c": 4}
    assert len(under_test.began) == 84


async def test_a_tenants_own_queries_run_in_order_and_alone_it_has_its_clients() -> None:
    under_test = store(clients=4, tenant_clients=4)
    tasks = [under_test.ask("t") for _ in range(6)]
    await settle()
    assert len(under_test.running["t"]) == 4
    await under_test.end_one("t")
    assert tasks[0].done()
    assert len(under_test.began) == 5
    await under_test.end_all()


async def test_beyond_what_may_wait_a_query_is_refused_and_another_tenants_is_not() -> None:
    under_test = store(clients=2, tenant_clients=1, waiting=3)
    for _ in range(4):
        under_test.ask("t")
    await settle()
    with pytest.raises(Overloaded, match="3 queries of the tenant wait"):
        await under_test.ask("t")
    under_test.ask("u")
    await settle()
    assert under_test.began == ["t", "u"]
    await under_test.end_all()


async def test_who_gives_up_leaves_its_place_and_nothing_is_lost() -> None:
    under_test = store(clients=1, tenant_clients=1)
    under_test.ask("t")
    await settle()
    gone = [under_test.ask("t"), under_test.ask("u")]
    late = under_test.ask("u", seconds=0.01)
    stays = under_test.ask("u")
    await settle()
    for task in gone:
        task.cancel()
    with pytest.raises(QueryTimedOut):
        await late
    await under_test.end_one("t")
    assert under_test.began == ["t", "u"]
    await under_test.end_one("u")
    assert stays.done()
    again = under_test.ask("t")
    await settle()
    assert under_test.began[-1] == "t", "the client is free again"
    await under_test.end_all()
    assert again.done()


async def test_a_turn_that_comes_to_one_who_is_just_leaving_goes_on_to_the_next() -> None:
    under_test = store(clients=1, tenant_clients=1)
    under_test.ask("t")
    await settle()
    leaving, stays = under_test.ask("u"), under_test.ask("v")
    await settle()
    under_test.running["t"].pop(0).set()
    leaving.cancel()
    await settle()
    assert under_test.began == ["t", "v"]
    await under_test.end_all()
    assert stays.done()


async def test_a_query_that_fails_gives_its_client_back() -> None:
    turns = Turns(TurnRules(1, 1, 10))
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            async with turns.turn("t", Deadline.after(5)):
                raise ZeroDivisionError
    async with turns.turn("t", Deadline.after(5)):
        pass


async def test_a_budget_of_time_is_told_with_the_exact_wait() -> None:
    clock = Clock()
    turns = Turns(TurnRules(4, 3, 10, tenant_seconds=6.0), monotonic=clock)

    async def query(tenant: str, seconds: float) -> None:
        async with turns.turn(tenant, Deadline.after(5)):
            clock.now += seconds

    await query("t", 7.0)  # 6 in the bucket, 0.1 a second: 1 - 0.7 is owed
    with pytest.raises(Overloaded) as refused:
        await query("t", 0.0)
    assert refused.value.retry_after_seconds == pytest.approx(3.0)
    await query("u", 1.0)
    clock.now += 2.0
    await query("t", 0.0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (4, 3)),
        ({"query_clients": 1}, (1, 1)),
        ({"query_clients": 8, "query_tenant_clients": 2}, (8, 2)),
        ({"query_clients": 2, "query_tenant_clients": 60}, (2, 2)),
    ],
)
def test_the_settings_say_how_many(settings: dict[str, int], expected: tuple[int, int]) -> None:
    rules = turn_rules(load(SinkSettings, **settings))
    assert (rules.clients, rules.tenant_clients) == expected
