"""Numbered, forward-only migrations: applied once, recorded with a checksum, refusing an edited past.

Every statement is idempotent (``IF NOT EXISTS``, ``OR REPLACE``), which a test checks. So a migration that was cut off, or
that two processes run at once, ends in the same schema: both may execute a statement, nobody needs a lock that a dead
process could keep.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

from clickhouse_connect.driver.client import Client

from contracts.errors import PermanentError
from runtime.logs import get_logger
from sink.cluster import render

log = get_logger(__name__)

_NAME = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")

_HISTORY = """CREATE TABLE IF NOT EXISTS schema_migrations (
  version UInt32,
  name String,
  checksum FixedString(64),
  applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
) ENGINE = ReplacingMergeTree ORDER BY version
"""


class EditedHistory(PermanentError):
    """The store holds a migration that this release does not have, or has with another text."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of ``sink/sql/migrations``."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """sha-256 of the file's text, hex."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def statements(self) -> Iterator[str]:
        """The statements, without comments. A statement ends with a semicolon at the end of a line."""
        lines = (line for line in self.sql.splitlines() if not line.lstrip().startswith("--"))
        for statement in re.split(r";[ \t]*(?:\n|$)", "\n".join(lines)):
            if statement.strip():
                yield statement.strip()

    def rendered(self, cluster: str) -> Iterator[str]:
        """What is executed: the statements, for the nodes of `cluster` if there is one."""
        for statement in self.statements():
            yield from render(statement, cluster)


def load() -> list[Migration]:
    """The migrations of this release, in order of their numbers, which may have gaps. Raises ValueError when one is taken twice."""
    found = []
    for entry in (resources.files("sink") / "sql" / "migrations").iterdir():
        match = _NAME.match(entry.name)
        if match:
            found.append(Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    if len({migration.version for migration in found}) != len(found):
        raise ValueError("two migrations have the same number")
    return found


def migrate(client: Client, migrations: Sequence[Migration] | None = None, *, cluster: str = "") -> list[str]:
    """Bring the schema up to date, on every node of `cluster` if there is one; returns the names of what was applied.

    Blocks. Raises EditedHistory or store errors.
    """
    wanted = load() if migrations is None else migrations
    for statement in render(_HISTORY, cluster):
        client.command(statement)
    applied = {
        int(version): str(checksum)
        for version, checksum in client.query(
            "SELECT version, toString(checksum) FROM schema_migrations FINAL ORDER BY version"
        ).result_rows
    }
    check_history(applied, wanted)
    done = []
    for migration in wanted:
        if migration.version in applied:
            continue
        for statement in migration.rendered(cluster):
            client.command(statement)
        client.insert(
            "schema_migrations",
            [[migration.version, migration.name, migration.checksum]],
            column_names=["version", "name", "checksum"],
        )
        log.info("migration applied", version=migration.version, name=migration.name)
        done.append(migration.name)
    return done


def check_history(applied: dict[int, str], wanted: Sequence[Migration]) -> None:
    """Every applied migration must be one of ours, unchanged. Raises EditedHistory."""
    ours = {migration.version: migration for migration in wanted}
    newest = max(ours, default=0)
    for version, checksum in sorted(applied.items()):
        migration = ours.get(version)
        if migration is None:
            raise EditedHistory(
                f"the store has migration {max(applied):04}, and this release knows none above {newest:04}: a newer release has "
                "migrated it. Run that release, or restore a copy of the store from before it (docs/upgrading.md)"
                if version > newest
                else f"the store has migration {version:04}, which this release does not have (its newest is {newest:04}): "
                "another branch of this code has migrated it. Run that one (docs/upgrading.md)"
            )
        if migration.checksum != checksum:
            raise EditedHistory(
                f"migration {version:04}_{migration.name}.sql was changed after it had been applied: restore the file and "
                "put the change into a new migration"
            )
