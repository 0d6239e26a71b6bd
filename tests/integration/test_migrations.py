"""From every schema there ever was to the newest: no row lost or changed, and the same schema as that of a new store."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from sink.migrate import EditedHistory, Migration, load, migrate
from sink.store import Store

ALL = load()
#: What a store can have: the first ones, and what was there before 0005 came (a number that was left free until then).
HISTORIES = [ALL[:count] for count in range(1, len(ALL))] + [[one for one in ALL if one.version not in (5, 13)]]
_ROWS = 100
_OWN = "database = currentDatabase() AND NOT startsWith(name, '.inner') AND name != 'schema_migrations'"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"chdb:///{tmp_path}/store", readers=1)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    opened = Store.open(f"chdb:///{tmp_path_factory.mktemp('newest')}/store", readers=1)
    try:
        migrate(opened.settler)
        return schema(opened.settler)
    finally:
        opened.close()


def rows(client: Client, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(sql).result_rows]


def schema(client: Client) -> dict[str, Any]:
    """Columns of every table and view, whatever their order, and the text of every view."""
    columns = "arraySort(groupArray((name, type, default_kind, default_expression, compression_codec)))"
    found: dict[str, Any] = {
        str(table): sorted(map(tuple, described))
        for table, described in rows(
            client,
            f"SELECT table, {columns} FROM system.columns WHERE database = currentDatabase() "
            "AND NOT startsWith(table, '.inner') GROUP BY table",
        )
    }
    views = f"SELECT name, as_select, sorting_key, partition_key, engine FROM system.tables WHERE {_OWN}"
    return found | {f"{name}, how": how for name, *how in rows(client, views)}


def tables(client: Client) -> list[str]:
    """Those that hold rows of their own."""
    found = rows(client, f"SELECT name FROM system.tables WHERE {_OWN} AND engine LIKE '%MergeTree' ORDER BY name")
    return [name for (name,) in found]


def columns_of(client: Client, table: str) -> list[tuple[str, str]]:
    """Name and type of what is inserted."""
    sql = (
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String} "
        "AND default_kind NOT IN ('MATERIALIZED', 'ALIAS') ORDER BY position"
    )
    return [(name, kind) for name, kind in client.query(sql, parameters={"table": table}).result_rows]


def fill(client: Client, described: dict[str, list[tuple[str, str]]], first_seed: int) -> None:
    """Rows of random values into every table, by the columns that are described, each with a key of its own."""
    fixed = {"removed": "0", "bucket": "202603"}  # no tombstones, and one partition
    for seed, (table, columns) in enumerate(described.items(), first_seed):
        # Columns of a nested table must be equally long, and stay empty.
        flat = [(name, kind) for name, kind in columns if "." not in name]
        structure = ", ".join(f"{name} {kind}" for name, kind in flat).replace("'", "\\'")
        names = ", ".join(name for name, _ in flat)
        values = ", ".join(fixed.get(name, name) for name, _ in flat)
        client.command(
            f"INSERT INTO {table} ({names}) SELECT {values} FROM generateRandom('{structure}', {seed}, 12, 3) LIMIT {_ROWS}"
        )


def contents(client: Client, described: dict[str, list[tuple[str, str]]]) -> dict[str, tuple[Any, ...]]:
    """Number of rows and a digest of every column that was there."""
    found = {}
    for table, names in described.items():
        digests = ", ".join(f"groupBitXor(cityHash64(`{name}`))" for name, _ in names)
        (found[table],) = rows(client, f"SELECT count(), {digests} FROM {table}")
    return found


@pytest.mark.parametrize("history", HISTORIES, ids=lambda h: "-".join(str(one.version) for one in h))
def test_a_store_of_any_earlier_schema_keeps_its_rows(
    store: Store, history: Sequence[Migration], newest: dict[str, Any]
) -> None:
    client = store.settler
    migrate(client, history)
    described = {table: columns_of(client, table) for table in tables(client)}
    fill(client, described, first_seed=1)
    before = contents(client, described)
    assert before["events"][0] == _ROWS
    done = migrate(client)
    assert done == [one.name for one in ALL if one not in history]
    assert contents(client, described) == before
    assert schema(client) == newest
    for (view,) in rows(client, f"SELECT name FROM system.tables WHERE {_OWN} AND engine = 'View'"):
        client.command(f"SELECT count() FROM {view}")
    assert migrate(client) == []
    # A writer of the earlier release that still runs goes on.
    fill(client, described, first_seed=100)
    assert contents(client, described)["events"][0] == 2 * _ROWS


def test_an_earlier_release_refuses_a_store_of_this_one_and_leaves_it_as_it_is(store: Store) -> None:
    client = store.settler
    migrate(client)
    before = schema(client)
    with pytest.raises(EditedHistory, match=rf"migration {ALL[-1].version:04}.*knows none above {ALL[-2].version:04}"):
        migrate(client, ALL[:-1])
    assert schema(client) == before


def test_the_process_says_so_and_ends(tmp_path: Path) -> None:
    store = Store.open(f"chdb:///{tmp_path}/store", readers=1)
    try:
        migrate(store.settler, [*ALL, Migration(9999, "of_tomorrow", "SELECT 1;")])
    finally:
        store.close()
    environment = {**os.environ, "CLICKHOUSE_DSN": f"chdb:///{tmp_path}/store", "SINK_HTTP_PORT": "0"}
    command = [sys.executable, "-m", "sink", "--role", "writer"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"the store has migration 9999, and this release knows none above {ALL[-1].version:04}" in done.stderr
