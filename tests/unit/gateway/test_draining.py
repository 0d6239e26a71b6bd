"""A process that leaves refuses new calls until it is quiet, and ends the waits of those under way."""

from __future__ import annotations

import asyncio

import pytest

from contracts.errors import Unavailable
from gateway import draining as module
from gateway.draining import Draining


async def test_it_refuses_until_it_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.05)
    draining = Draining()
    draining.check()
    quiet = asyncio.create_task(draining.refuse_until_quiet(60))
    for _ in range(10):
        await asyncio.sleep(0.01)
        with pytest.raises(Unavailable, match="safe"):
            draining.check()
        assert not quiet.done()
    await asyncio.wait_for(quiet, 5)
    with pytest.raises(Unavailable):
        draining.check()


async def test_calls_whose_connection_ends_with_the_answer_are_served_while_there_is_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.05)
    draining = Draining()
    quiet = asyncio.create_task(draining.refuse_until_quiet(60))
    for _ in range(10):
        await asyncio.sleep(0.01)
        draining.check_last()
        assert not quiet.done()
    await asyncio.wait_for(quiet, 5)
    draining.check_last()
    draining.give_up()
    with pytest.raises(Unavailable, match="safe"):
        draining.check_last()


async def test_it_does_not_wait_for_quiet_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUIET_SECONDS", 60)
    await asyncio.wait_for(Draining().refuse_until_quiet(0.01), 5)


async def test_waits_end_when_it_gives_up_those_that_come_later_too() -> None:
    draining = Draining()

    async def wait() -> None:
        async with draining.timeout(60):
            await asyncio.Event().wait()

    waits = [asyncio.create_task(wait()) for _ in range(3)]
    await asyncio.sleep(0)
    async with draining.timeout(60):
        pass  # over already
    draining.give_up()
    results = await asyncio.wait_for(asyncio.gather(*waits, wait(), return_exceptions=True), 5)
    assert [type(result) for result in results] == [TimeoutError] * 4


async def test_others_are_told_when_it_gives_up() -> None:
    draining = Draining()
    told: list[str] = []
    draining.on_give_up(lambda: told.append("one"))
    draining.on_give_up(lambda: told.append("two"))
    draining.give_up()
    assert told == ["one", "two"]
