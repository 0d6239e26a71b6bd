"""How the schema looks on a ClickHouse cluster: each migration's statements, rendered for it. Pure.

A table ``x`` becomes ``x_local`` on every node (a Replicated engine, one path per shard) and ``x``, a Distributed table over
them, so that every statement of this product is the same with and without a cluster. Rows are sharded by what makes them
one: all copies of an event, whatever their session, project or time, meet on one shard, and there the engine makes them one
row and settling finds them; facts meet theirs. Tables of a few rows (:data:`EVERYWHERE`) are whole on every node.

Nodes need the macros ``{shard}`` and ``{replica}``, and ``internal_replication`` for the cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

#: What the copies of one event have in common. `event_ids` keeps the hash of the id only, so all use it.
_EVENT = "sipHash64(tenant_id, sipHash64(event_id))"
#: Sharding keys.
SHARDED = {
    "events": _EVENT,
    "event_ids": "sipHash64(tenant_id, id_hash)",
    "resends": _EVENT,
    "conflicts": _EVENT,
    "handoffs": "sipHash64(tenant_id, sipHash64(handoff_id))",
    "mcp_calls": "sipHash64(tenant_id, sipHash64(call_id))",
    "dead_letters": "sipHash64(dead_letter_id)",
    "expired": _EVENT,
    "event_stats_days": "sipHash64(tenant_id, project_id, day)",
}
#: Tables of a few rows, the same on every node of every shard.
EVERYWHERE = frozenset(
    {"schema_migrations", "settle_progress", "event_stats_progress", "retention", "legal_holds", "erasures"}
)

#: For every client of a cluster.
SETTINGS: dict[str, Any] = {
    # A statement that names two Distributed tables reads the inner one once and sends its rows along.
    "distributed_product_mode": "global",
    # An insert returns when the shards have the rows, and most replicas of each.
    "distributed_foreground_insert": 1,
    "insert_quorum": "auto",
    # See sql/migrations/0001_events.sql: a block that a killed insert left behind must not be skipped.
    "insert_deduplicate": 0,
}

_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+) ")
_ENGINE = re.compile(r"ENGINE = ReplacingMergeTree(?:\(([^)]*)\))?")
_MATERIALIZED = re.compile(r"CREATE MATERIALIZED VIEW IF NOT EXISTS (\w+) TO (\w+) AS")
_VIEW = re.compile(r"CREATE OR REPLACE VIEW (\w+) AS")
_ALTER = re.compile(r"ALTER TABLE (\w+) (ADD (?:COLUMN|INDEX) .*)", re.DOTALL)


def local_name(table: str, cluster: str) -> str:
    """The table that holds the rows: what partitions are dropped from."""
    return f"{table}_local" if cluster and table in SHARDED else table


def on_cluster(cluster: str) -> str:
    """The clause for statements about tables; '' without a cluster."""
    return f" ON CLUSTER `{cluster}`" if cluster else ""


def render(statement: str, cluster: str) -> Iterator[str]:
    """The statements to execute for one of a migration. Without a cluster: itself. Raises ValueError for a kind or a table this
    module does not know: a new table must say how it is sharded."""
    if not cluster:
        yield statement
        return
    everywhere = on_cluster(cluster)
    if match := _TABLE.match(statement):
        yield from _table(statement, match[1], cluster)
    elif match := _MATERIALIZED.match(statement):
        rest = re.sub(r"\bFROM (\w+)", lambda found: f"FROM {local_name(found[1], cluster)}", statement[match.end() :])
        target = local_name(match[2], cluster)
        yield f"CREATE MATERIALIZED VIEW IF NOT EXISTS {match[1]}{everywhere} TO {target} AS{rest}"
    elif match := _VIEW.match(statement):
        yield f"CREATE OR REPLACE VIEW {match[1]}{everywhere} AS{statement[match.end() :]}"
    elif match := _ALTER.match(statement):
        yield f"ALTER TABLE {local_name(match[1], cluster)}{everywhere} {match[2]}"
        if match[1] in SHARDED and match[2].startswith("ADD COLUMN"):
            yield f"ALTER TABLE {match[1]}{everywhere} {match[2]}"
    else:
        raise ValueError(f"no rendering for a cluster: {statement[:60]}")


def _table(statement: str, name: str, cluster: str) -> Iterator[str]:
    if name not in SHARDED and name not in EVERYWHERE:
        raise ValueError(f"table {name} has no sharding key")
    local, sharded = local_name(name, cluster), name in SHARDED
    path, replica = (f"{{shard}}/{local}", "{replica}") if sharded else (f"all/{local}", "{shard}-{replica}")

    def engine(found: re.Match[str]) -> str:
        arguments = [f"'/clickhouse/tables/{{database}}/{path}'", f"'{replica}'", *filter(None, [found[1]])]
        return f"ENGINE = ReplicatedReplacingMergeTree({', '.join(arguments)})"

    head = f"CREATE TABLE IF NOT EXISTS {local}{on_cluster(cluster)} "
    yield head + _ENGINE.sub(engine, statement[_end_of_name(statement) :], count=1)
    if sharded:
        yield (
            f"CREATE TABLE IF NOT EXISTS {name}{on_cluster(cluster)} AS {local} "
            f"ENGINE = Distributed('{cluster}', currentDatabase(), '{local}', {SHARDED[name]})"
        )


def _end_of_name(statement: str) -> int:
    match = _TABLE.match(statement)
    assert match is not None
    return match.end()
