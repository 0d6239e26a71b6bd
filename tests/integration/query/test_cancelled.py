"""A call that is cancelled, or runs out of time, does not go on in the engine."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from runtime.settings import SinkSettings
from sink.query.builder import Statement
from sink.query.engine import Deadline, Engine
from sink.query.errors import QueryTimedOut
from sink.store import Store

#: Half a minute without CPU, interruptible between blocks.
SLOW = Statement("SELECT sum(sleepEachRow(0.1)) FROM numbers(300) SETTINGS max_block_size = 1", {})


def running(store: Store) -> int:
    query = "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow%' AND query NOT LIKE '%processes%'"
    return int(store.settler.query(query).result_rows[0][0])


async def until(condition: Any) -> None:
    """Wait for what another thread does; fails after ten seconds."""
    deadline = time.monotonic() + 10
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def test_a_cancelled_call_ends_its_query_in_the_engine(store: Store, settings: SinkSettings) -> None:
    async def cancel() -> None:
        engine = Engine(store, settings)
        call = asyncio.create_task(engine.rows(SLOW, Deadline.after(30)))
        await until(lambda: running(store) == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: running(store) == 0)

    asyncio.run(cancel())


def test_calls_that_are_cancelled_before_they_run_free_the_readers(store: Store, settings: SinkSettings) -> None:
    async def cancel() -> None:
        engine = Engine(store, settings)
        calls = [asyncio.create_task(engine.rows(SLOW, Deadline.after(30))) for _ in range(8)]
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        # Two readers: the answer comes only if nothing holds them for long.
        assert await engine.rows(Statement("SELECT 1", {}), Deadline.after(10)) == [(1,)]
        await until(lambda: running(store) == 0)

    asyncio.run(cancel())


def test_a_query_out_of_time_is_stopped(store: Store, settings: SinkSettings) -> None:
    async def expire() -> None:
        with pytest.raises(QueryTimedOut):
            await Engine(store, settings).rows(SLOW, Deadline.after(0.5))
        await until(lambda: running(store) == 0)

    asyncio.run(expire())
