"""Dead letters as tables: counts, and rows without content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table
from rich.text import Text

from cli.render.tables import cell, table
from cli.render.text import count, moment, moments

#: Characters of an id in a table: enough to name a letter to `dlq show`, which says so when it is not.
ID_CHARS = 8


class Group(Protocol):
    """Counts of one kind."""

    @property
    def letters(self) -> int: ...
    @property
    def first_ns(self) -> int: ...
    @property
    def last_ns(self) -> int: ...


class Row(Protocol):
    """One letter."""

    @property
    def first_seen_ns(self) -> int: ...
    @property
    def dead_letter_id(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def tenant_id(self) -> str: ...
    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def message(self) -> str: ...


def group_table(groups: Mapping[tuple[str, str, str], Group], *, title: str | None = None) -> Table:
    """One row per stage, reason and tenant; the largest first."""
    rows = table("stage", "reason", "*tenant", ">letters", "first (UTC)", "last (UTC)", title=title)
    for (stage, reason, tenant), group in sorted(groups.items(), key=lambda one: (-one[1].letters, one[0])):
        rows.add_row(
            cell(stage),
            cell(reason, "yellow"),
            _tenant(tenant),
            count(group.letters),
            moment(_timestamp(group.first_ns)).partition(".")[0],
            moment(_timestamp(group.last_ns)).partition(".")[0],
        )
    return rows


def letter_table(letters: Sequence[Row], copies: Mapping[str, int]) -> Table:
    """One row per letter."""
    heading, times = moments([_timestamp(row.first_seen_ns) for row in letters])
    rows = table(heading, "id", "stage", "reason", "*tenant", "record", ">copies", "*why")
    for row, time in zip(letters, times, strict=True):
        rows.add_row(
            time,
            cell(row.dead_letter_id[:ID_CHARS]),
            cell(row.stage),
            cell(row.reason, "yellow"),
            _tenant(row.tenant_id),
            cell(f"{row.topic.rpartition('.')[2]}-{row.partition}@{row.offset}"),
            count(copies[row.dead_letter_id]),
            cell(row.message, "dim"),
        )
    return rows


def _tenant(tenant: str) -> Text:
    return cell(tenant) if tenant else Text("-", "dim")


def _timestamp(unix_ns: int) -> Timestamp:
    seconds, nanos = divmod(max(unix_ns, 0), 1_000_000_000)
    return Timestamp(seconds=seconds, nanos=nanos)
