from __future__ import annotations

import re
from typing import Any

import pytest

from sink.migrate import EditedHistory, Migration, check_history, load, migrate


def test_the_released_migrations_are_numbered_and_idempotent() -> None:
    migrations = load()
    numbers = [migration.version for migration in migrations]
    assert numbers == sorted(set(numbers))
    for migration in migrations:
        for statement in migration.statements():
            assert re.match(
                r"CREATE (TABLE|MATERIALIZED VIEW) IF NOT EXISTS|CREATE OR REPLACE VIEW|ALTER TABLE \w+ ADD \w+ IF NOT EXISTS",
                statement,
            ), statement[:80]


def test_statements_end_with_a_semicolon_at_a_line_end_and_lose_comments() -> None:
    migration = Migration(1, "x", "-- one; two;\nCREATE a;b\n(x);  \n\n  -- and\nCREATE c;\n")
    assert list(migration.statements()) == ["CREATE a;b\n(x)", "CREATE c"]


ONE, TWO = Migration(1, "one", "CREATE one;"), Migration(2, "two", "CREATE two;")


def test_an_edited_past_is_refused() -> None:
    check_history({1: ONE.checksum}, [ONE, TWO])
    with pytest.raises(EditedHistory, match=r"0001_one\.sql was changed"):
        check_history({1: TWO.checksum}, [ONE, TWO])


def test_a_store_of_a_newer_release_is_refused() -> None:
    with pytest.raises(EditedHistory, match=r"has migration 0004, and this release knows none above 0002.*Run that"):
        check_history({1: ONE.checksum, 3: "x", 4: "y"}, [ONE, TWO])


def test_a_store_of_another_branch_is_refused() -> None:
    with pytest.raises(
        EditedHistory, match=r"has migration 0002, which this release does not have \(its newest is 0003\)"
    ):
        check_history({1: ONE.checksum, 2: "x"}, [ONE, Migration(3, "three", "CREATE three;")])


class FakeClient:
    def __init__(self, applied: dict[int, str]) -> None:
        self.applied = applied
        self.commands: list[str] = []
        self.inserted: list[list[Any]] = []

    def command(self, sql: str) -> None:
        self.commands.append(sql)

    def query(self, _sql: str) -> Any:
        return type("Result", (), {"result_rows": sorted(self.applied.items())})

    def insert(self, _table: str, rows: list[list[Any]], column_names: list[str]) -> None:
        assert column_names == ["version", "name", "checksum"]
        self.inserted += rows


def test_only_what_is_missing_is_applied_and_recorded() -> None:
    client = FakeClient({1: ONE.checksum})
    assert migrate(client, [ONE, TWO]) == ["two"]  # type: ignore[arg-type]
    assert client.commands[1:] == ["CREATE two"]
    assert client.inserted == [[2, "two", TWO.checksum]]


def test_nothing_is_applied_to_an_edited_past() -> None:
    client = FakeClient({1: "another"})
    with pytest.raises(EditedHistory):
        migrate(client, [ONE, TWO])  # type: ignore[arg-type]
    assert len(client.commands) == 1
