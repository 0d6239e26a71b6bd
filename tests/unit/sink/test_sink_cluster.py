"""The schema on a cluster, word for word. After a change: UPDATE_GOLDEN=1 pytest, and read the difference."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sink.cluster import EVERYWHERE, SHARDED, local_name, render
from sink.dsn import InvalidDsn, ServerDsn, parse_dsn
from sink.migrate import Migration, load
from tests.support.cluster_store import without_keeper

GOLDEN = Path(__file__).parent / "golden_cluster"


def text(migration: Migration) -> str:
    return "\n\n".join(f"{statement};" for statement in migration.rendered("gw")) + "\n"


@pytest.mark.parametrize("migration", load(), ids=lambda migration: f"{migration.version:04}_{migration.name}")
def test_the_rendered_schema(migration: Migration) -> None:
    file = GOLDEN / f"{migration.version:04}_{migration.name}.sql"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(text(migration))
    assert file.read_text() == text(migration)


def test_without_a_cluster_a_statement_is_itself() -> None:
    assert list(render("anything", "")) == ["anything"]


def test_every_table_says_how_it_is_sharded() -> None:
    assert not EVERYWHERE & set(SHARDED)
    with pytest.raises(ValueError, match="table x has no sharding key"):
        list(render("CREATE TABLE IF NOT EXISTS x (a UInt8) ENGINE = ReplacingMergeTree ORDER BY a", "gw"))
    with pytest.raises(ValueError, match="no rendering"):
        list(render("DROP TABLE events", "gw"))


def test_what_a_node_executes() -> None:
    create, distributed = render(
        "CREATE TABLE IF NOT EXISTS events (a UInt8) ENGINE = ReplacingMergeTree(v, r) ORDER BY a", "gw"
    )
    assert "'/clickhouse/tables/{database}/{shard}/events_local', '{replica}', v, r)" in create
    assert without_keeper(create) == (
        "CREATE TABLE IF NOT EXISTS events_local (a UInt8) ENGINE = ReplacingMergeTree(v, r) ORDER BY a"
    )
    assert (
        "Distributed('gw', currentDatabase(), 'events_local', sipHash64(tenant_id, sipHash64(event_id)))" in distributed
    )


def test_local_names() -> None:
    assert local_name("events", "") == "events"
    assert local_name("events", "gw") == "events_local"
    assert local_name("settle_progress", "gw") == "settle_progress"


def test_the_cluster_comes_from_the_dsn() -> None:
    target = parse_dsn("clickhouse://u:p@h:1/db?cluster=gw")
    assert isinstance(target, ServerDsn)
    assert (target.database, target.cluster) == ("db", "gw")
    plain = parse_dsn("clickhouse://h/db")
    assert isinstance(plain, ServerDsn)
    assert plain.cluster == ""


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("clickhouse://h/db?cluster=a`b", "letters, digits"),
        ("clickhouse://h/db?clster=a", "only option"),
        ("clickhouse://h/db?x", "not a URL"),
        ("chdb:///d?cluster=a", "embedded engine"),
    ],
)
def test_wrong_options(dsn: str, said: str) -> None:
    with pytest.raises(InvalidDsn, match=said):
        parse_dsn(dsn)
