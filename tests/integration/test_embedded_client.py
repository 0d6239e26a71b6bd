"""What a failed call leaves in the embedded engine never reaches the next one: it may be another tenant's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from runtime.settings import SinkSettings, load
from sink.query.builder import Statement
from sink.query.engine import Deadline, Engine
from sink.query.errors import QueryTimedOut
from sink.store import Store

#: Fails when much of its answer is written already.
FAILS = "SELECT number AS n, throwIf(number = 200000) FROM numbers(300000)"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(f"chdb:///{tmp_path / 'store'}", readers=1)
    yield made
    made.close()


def one(client: Client) -> Any:
    return client.query("SELECT 1").result_rows


def fail(client: Client) -> None:
    with pytest.raises(ClickHouseError):
        client.query(FAILS)


@pytest.mark.parametrize("choose", [lambda s: s.writer, lambda s: s.settler], ids=["writer", "settler"])
def test_a_failed_query_leaves_nothing_behind(store: Store, choose: Callable[[Store], Client]) -> None:
    for _ in range(3):
        fail(choose(store))
        assert one(choose(store)) == [(1,)]


async def test_nor_does_one_of_a_reader(store: Store) -> None:
    for _ in range(3):
        await store.read(fail)
        assert await store.read(one) == [(1,)]


async def test_a_reader_whose_job_fails_after_its_query_takes_a_new_connection(store: Store) -> None:
    def connection(client: Any) -> int:
        return id(client._client)

    def give_up(client: Client) -> None:
        client.query("SELECT number FROM numbers(10)")
        raise QueryTimedOut("nobody waits for it")

    await store.read(one)
    before = await store.read(connection)
    with pytest.raises(QueryTimedOut):
        await store.read(give_up)
    assert await store.read(one) == [(1,)]
    assert await store.read(connection) != before


async def test_stopped_queries_never_answer_in_part_and_leave_nothing_behind(store: Store) -> None:
    """Short deadlines in the middle of answers: each query is whole or an error."""
    engine = Engine(store, load(SinkSettings))
    long = Statement("SELECT number, toString(number) FROM numbers(60000)", {})
    ended = 0
    for number in range(60):
        try:
            rows = await engine.rows(long, Deadline.after(0.004 + 0.001 * (number % 12)))
            assert len(rows) == 60_000
        except QueryTimedOut:
            ended += 1
        await asyncio.sleep(0)
        assert await engine.rows(Statement("SELECT 1", {}), Deadline.after(20)) == [(1,)]
    assert ended, "no deadline passed in the middle of an answer"
