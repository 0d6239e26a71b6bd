"""A plan as a table for people, as Markdown for docs/capacity.md, as JSON for machines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.table import Table

from cli.capacity.costs import GIB, TIB
from cli.capacity.model import Load, Plan, plan
from cli.render.tables import cell, table
from cli.render.text import count, duration

COLUMNS = ("component", "count", "cores each", "memory each", "disk each", "note")
#: Between these lines docs/capacity.md is generated.
BEGIN, END = "<!-- plans: make docs -->", "<!-- end of plans -->"
DOCUMENTED = (10_000, 100_000, 1_000_000)


def plan_table(made: Plan) -> Table:
    """One row per kind of process or node."""
    rows = table("component", ">count", ">cores each", ">memory each", ">disk each", "*note")
    for values in _cells(made):
        rows.add_row(*map(cell, values))
    return rows


def facts(made: Plan) -> Iterator[str]:
    """What the settings should be, and what follows; one sentence each."""
    load = made.load
    yield f"KAFKA_TOPIC_PARTITIONS={made.partitions}, KAFKA_TOPIC_REPLICATION_FACTOR={load.kafka_replicas}"
    yield (
        f"PROCESSORS_WINDOW_OFFSETS={made.window_offsets}: at least {duration(1000 * load.window_seconds)} back; a dead worker's "
        f"partitions flow again {duration(1000 * made.takeover_seconds)} after their takeover"
    )
    yield (
        f"Kafka keeps {size(made.kafka_bytes)} for {load.kafka_hours} h, ClickHouse {size(made.store_bytes)} for {load.retention_days} "
        f"days, replicas included, at {count(round(load.kept_per_second))} events/s on average"
    )
    if load.tenants > 1:
        yield f"a tenant's average: {count(round(made.tenant_events_per_second))} events/s"


def markdown() -> str:
    """The generated part of docs/capacity.md."""
    parts = []
    for rate in DOCUMENTED:
        made = plan(Load(rate))
        lines = [f"**{count(rate)} events/s** (`chaukas-gateway plan --events-per-second {rate}`)", ""]
        lines += [f"| {' | '.join(COLUMNS)} |", "|---|--:|--:|--:|--:|---|"]
        lines += [f"| {' | '.join(values)} |" for values in _cells(made)]
        lines += ["", *(f"- {fact}" for fact in facts(made)), ""]
        parts.append("\n".join(lines))
    return BEGIN + "\n\n" + "\n".join(parts) + "\n" + END


def inserted(document: str) -> str:
    """`document` with its generated part made anew. Raises ValueError when the marks are not there."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the lines {BEGIN} and {END} are missing")
    return before + markdown() + after


def to_json(made: Plan) -> dict[str, Any]:
    """Bytes and seconds, not rounded for people."""
    return asdict(made)


def size(number: float) -> str:
    """Bytes for a person."""
    if number >= TIB:
        return f"{number / TIB:,.1f} TiB"
    return f"{number / GIB:.1f} GiB" if number < 10 * GIB else f"{number / GIB:.0f} GiB"


def _cells(made: Plan) -> Iterator[tuple[str, ...]]:
    for row in made.rows:
        disk = size(row.disk_bytes) if row.disk_bytes else "-"
        yield row.component, count(row.count), f"{row.cores:g}", size(row.memory_bytes), disk, row.note
