"""Erasure: takes the content of a session, or of all that is about a subject, out of the store, for good (docs/adr/0033).

:meth:`Eraser.erase` does, in this order, so that one that was cut off is simply done again:

1. find what it is about: the session, or every session in which an event names the subject (and its events without a session);
   a legal hold on any of it refuses everything;
2. note it in `erasures` and let the writer of this process know: from here on nothing of it can come back;
3. insert what is left of each row under the same key and version: of equal versions the last one counts, so no answer ever
   misses a row;
4. delete the rows with content by a mutation, and wait for it: it writes the parts they were in anew, with their indexes. The
   old parts are out of use when it returns; the engine removes their files within `old_parts_lifetime` (8 minutes).

:meth:`Eraser.sweep` repeats 3 and 4 for recent erasures: what another writer inserted before it heard of them.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from string import Template
from typing import Any

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from contracts.errors import InvalidInput
from contracts.v1.dead_letter_pb2 import DeadLetter
from runtime.logs import get_logger
from sink.cluster import local_name, on_cluster
from sink.erased_rows import CONTENT, IDS, TIMES, covering_letter, erase, subject_digest
from sink.event_rows import SCHEMA
from sink.facts import SCHEMAS
from sink.retention import RUNS, Retention
from sink.sqlfiles import read_sql
from sink.subjects import find_subject
from sink.tombstones import EVENT, SESSION, SUBJECT, Erasures, Stone, Tombstones, load

log = get_logger(__name__)

#: Rows read and inserted at a time; without content they are small.
ROWS_PER_STEP = 20_000
#: Letters looked into at a time; one is at most four mebibytes.
LETTERS_PER_STEP = 32
#: Sessions or events of one statement.
VALUES_PER_STEP = 1_000
#: How long erasures are looked after by :meth:`Eraser.sweep`, seconds.
SWEEP_SECONDS = 86_400
#: The order in which tables are done: what others are made from comes first.
TABLES = ("events", "conflicts", "handoffs", "mcp_calls", "dead_letters")
_MUTATION = {"mutations_sync": 2, "alter_sync": 2}


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be erased: a session or (one of the two) a subject, of a tenant, in one project or (empty) in every one."""

    tenant_id: str
    project_id: str = ""
    session_id: str = ""
    subject: str = ""


@dataclass(slots=True)
class Report:
    """What was erased, or would be."""

    erasure_id: str = ""
    erased_ns: int = 0
    sessions: list[str] = field(default_factory=list)
    #: Rows whose content was taken out, by table.
    rows: dict[str, int] = field(default_factory=dict)


class Eraser:
    """On one client, by one thread at a time. `subject_paths`: where an event names whom it is about."""

    def __init__(
        self,
        client: Client,
        cluster: str = "",
        erasures: Erasures | None = None,
        subject_paths: Sequence[str] = (),
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._client = client
        self._cluster = cluster
        self._erasures = erasures or Erasures()
        self._subject_paths = subject_paths
        self._clock_ns = clock_ns

    def erase(self, target: Target, reason: str = "", *, dry_run: bool = False) -> Report:
        """Erase, or with `dry_run` only count. Blocks, also while a retention run of this process is under way. Raises
        InvalidInput (a legal hold), and the driver's errors: it is then to be repeated."""
        with RUNS:
            now = self._clock_ns()
            sessions, events = self._find(target)
            self._refuse_holds(target.tenant_id, sessions)
            report = Report(sessions=sessions)
            until = self._until(target, sessions, events, now)
            if dry_run:
                report.rows = self._counts(target, sessions, events, until)
                return report
            report.erasure_id, report.erased_ns = str(uuid.uuid4()), now
            stones = self._stones(target, sessions, events, report.erasure_id, now, until, reason)
            self._note(stones)
            report.rows = self._apply(stones)
            log.info(
                "erased",
                tenant_id=target.tenant_id,
                erasure_id=report.erasure_id,
                sessions=len(sessions),
                rows=sum(report.rows.values()),
            )
            return report

    def sweep(self) -> int:
        """Erase what came back since; returns how many rows. Blocks. Raises the driver's errors."""
        since = self._clock_ns() - SWEEP_SECONDS * 10**9
        found: dict[str, list[Stone]] = {}
        for stone in load(self._client, since):
            found.setdefault(stone.erasure_id, []).append(stone)
        total = 0
        for stones in found.values():
            with RUNS:
                total += sum(self._apply(stones).values())
        if total:
            log.warning("erased content had come back and was erased again", rows=total)
        return total

    # ---------------------------------------------------------------- what it is about

    def _find(self, target: Target) -> tuple[list[str], list[str]]:
        """Sessions, and ids of events without one."""
        if target.session_id:
            return [target.session_id], []
        return find_subject(self._client, self._subject_paths, target.tenant_id, target.project_id, target.subject)

    def _refuse_holds(self, tenant_id: str, sessions: Sequence[str]) -> None:
        for hold in Retention(self._client, self._cluster).holds():
            if hold.tenant_id == tenant_id and (not hold.session_id or hold.session_id in sessions):
                what = f"session {hold.session_id}" if hold.session_id else f"tenant {tenant_id}"
                raise InvalidInput.of("tenant_id", f"{what} is under a legal hold ({hold.reason or 'no reason given'})")

    def _until(self, target: Target, sessions: Sequence[str], events: Sequence[str], now: int) -> int:
        """Everything that is there is covered, also what a client's clock dates into the future."""
        latest = now
        for some, others in _steps(sessions, events):
            for table in ("events", "conflicts", "handoffs", "mcp_calls"):
                where, parameters = self._where(table, target.tenant_id, target.project_id, some, others, 2**63 - 1)
                columns = f"max({_ns(TIMES[table][0])}), count()"
                row = self._client.query(f"SELECT {columns} FROM {table} WHERE {where}", parameters=parameters)  # noqa: S608 - ours
                found, count = row.result_rows[0]
                latest = max(latest, int(found)) if count else latest
        return latest

    def _stones(
        self,
        target: Target,
        sessions: Sequence[str],
        events: Sequence[str],
        erasure_id: str,
        now: int,
        until: int,
        reason: str,
    ) -> list[Stone]:
        values = [(SESSION, session) for session in sessions] + [(EVENT, event) for event in events]
        if target.subject:
            values.append((SUBJECT, subject_digest(target.subject)))
        return [
            Stone(target.tenant_id, target.project_id, kind, value, erasure_id, now, until, reason)
            for kind, value in values
        ]

    def _note(self, stones: Sequence[Stone]) -> None:
        table = pa.table(
            {
                **{
                    name: [getattr(stone, name) for stone in stones]
                    for name in Stone._fields
                    if not name.endswith("_ns")
                },
                "erased_at": pa.array([stone.erased_ns for stone in stones], pa.timestamp("ns", "UTC")),
                "until": pa.array([stone.until_ns for stone in stones], pa.timestamp("ns", "UTC")),
            }
        )
        self._client.insert_arrow("erasures", table)
        self._erasures.publish(stones)

    # ---------------------------------------------------------------- doing it

    def _counts(self, target: Target, sessions: Sequence[str], events: Sequence[str], until: int) -> dict[str, int]:
        stones = self._stones(target, sessions, events, "", 0, until, "")
        found: dict[str, int] = {}
        for some, others in _steps(sessions, events):
            for table in TABLES[:-1]:
                where, parameters = self._where(table, target.tenant_id, target.project_id, some, others, until)
                rows = self._client.query(f"SELECT count() FROM {table} FINAL WHERE {where}", parameters=parameters)  # noqa: S608 - ours
                found[table] = found.get(table, 0) + int(rows.result_rows[0][0])
        found["dead_letters"] = sum(len(some) for some, _ in self._letters(stones))
        return {table: rows for table, rows in found.items() if rows}

    def _apply(self, stones: Sequence[Stone]) -> dict[str, int]:
        """3 and 4, for the tombstones of one erasure; rows by table."""
        sessions = [stone.value for stone in stones if stone.kind == SESSION]
        events = [stone.value for stone in stones if stone.kind == EVENT]
        one = stones[0]
        found = dict.fromkeys(TABLES, 0)
        for some, others in _steps(sessions, events):
            for table in TABLES[:-1]:
                where, parameters = self._where(table, one.tenant_id, one.project_id, some, others, one.until_ns)
                keep = self._keep_events if table == "events" else self._keep_facts
                if rows := keep(table, where, parameters, one):
                    found[table] += rows
                    self._delete(table, where, parameters)
        found["dead_letters"] = self._erase_letters(stones)
        return {table: rows for table, rows in found.items() if rows}

    def _keep_events(self, table: str, where: str, parameters: Mapping[str, Any], stone: Stone) -> int:
        """Insert the skeletons of events; how many."""
        columns = [name for name in SCHEMA.names if name not in CONTENT[table]]
        last: tuple[int, int, int, int] = (-(2**63), 0, 0, 0)
        total = 0
        while True:
            rows = self._client.query_arrow(
                f"SELECT {', '.join(columns)}, event_hash AS place_hash FROM events WHERE {where} "  # noqa: S608 - ours
                "AND (toUnixTimestamp64Nano(ts), event_hash, raw_partition, raw_offset) > {after:Tuple(Int64, UInt64, UInt32, UInt64)} "
                "ORDER BY toUnixTimestamp64Nano(ts), event_hash, raw_partition, raw_offset "
                "LIMIT 1 BY tenant_id, project_id, ts, event_hash, raw_partition, raw_offset LIMIT {most:UInt32}",
                parameters={**parameters, "after": last, "most": ROWS_PER_STEP},
                use_strings=True,
            )
            if not rows.num_rows:
                return total
            end = rows.slice(rows.num_rows - 1).select(["ts", "place_hash", "raw_partition", "raw_offset"])
            at, *place = (column[0] for column in end.columns)
            last = (at.cast(pa.int64()).as_py(), *(int(value.as_py()) for value in place))
            left = erase(table, _whole(rows), [stone] * rows.num_rows)
            self._client.insert_arrow(table, left)
            total += int(rows.num_rows)
            if rows.num_rows < ROWS_PER_STEP:
                return total

    def _keep_facts(self, table: str, where: str, parameters: Mapping[str, Any], stone: Stone) -> int:
        """The same of tables whose rows need no skeleton event, by the engine itself; how many."""
        counted = self._client.query(f"SELECT count() FROM {table} WHERE {where}", parameters=dict(parameters))  # noqa: S608 - ours
        count = int(counted.result_rows[0][0])
        if count:
            same = [name for name in SCHEMAS[table].names if name not in CONTENT[table]] + ["ingested_at", "version"]
            same += ["removed"] if table in ("handoffs", "mcp_calls") else []
            blank = ", ".join("''" for _ in CONTENT[table])
            self._client.command(
                f"INSERT INTO {table} ({', '.join((*same, *CONTENT[table]))}, erasure_id) "  # noqa: S608 - ours
                f"SELECT {', '.join(same)}, {blank}, {{erasure_id:String}} FROM {table} WHERE {where}",
                parameters={**parameters, "erasure_id": stone.erasure_id},
            )
        return count

    def _erase_letters(self, stones: Sequence[Stone]) -> int:
        total = 0
        for ids, rows in self._letters(stones):
            self._client.insert_arrow("dead_letters", rows)
            where = "tenant_id = {tenant_id:String} AND dead_letter_id IN {ids:Array(String)} AND erasure_id = ''"
            self._delete("dead_letters", where, {"tenant_id": stones[0].tenant_id, "ids": ids})
            total += len(ids)
        return total

    def _letters(self, stones: Sequence[Stone]) -> Iterator[tuple[list[str], pa.Table]]:
        """Letters of the tenant that hold something of what is erased, and what is left of them."""
        tombstones, after = Tombstones(stones), ""
        while True:
            rows = self._client.query_arrow(
                f"SELECT {', '.join(SCHEMAS['dead_letters'].names)} FROM dead_letters FINAL "  # noqa: S608 - ours
                "WHERE tenant_id = {tenant_id:String} AND dead_letter_id > {after:String} AND erasure_id = '' "
                "ORDER BY dead_letter_id LIMIT {most:UInt32}",
                parameters={"tenant_id": stones[0].tenant_id, "after": after, "most": LETTERS_PER_STEP},
                use_strings=False,
            )
            if not rows.num_rows:
                return
            rows = _as(rows, SCHEMAS["dead_letters"])
            ids = rows.column("dead_letter_id").to_pylist()
            after = ids[-1]
            letters = [DeadLetter.FromString(data) for data in rows.column("letter").to_pylist()]
            found = [(place, stone) for place, one in enumerate(letters) if (stone := covering_letter(one, tombstones))]
            if found:
                places = [place for place, _ in found]
                some = rows.take(pa.array(places, pa.int64()))
                yield [ids[place] for place in places], erase("dead_letters", some, [stone for _, stone in found])
            if rows.num_rows < LETTERS_PER_STEP:
                return

    def _where(
        self, table: str, tenant_id: str, project_id: str, sessions: Sequence[str], events: Sequence[str], until_ns: int
    ) -> tuple[str, dict[str, Any]]:
        where = Template(read_sql("erase/where.sql")).substitute(
            ids=", ".join(f"toString({name})" for name in IDS[table]), times=", ".join(map(_ns, TIMES[table]))
        )
        if table == "events":
            where += " AND removed = 0"  # a tombstone of settling has no content, and hides a copy that lost
        return where, {
            "tenant_id": tenant_id,
            "project_id": project_id,
            "sessions": list(sessions),
            "events": list(events),
            "until_ns": until_ns,
        }

    def _delete(self, table: str, where: str, parameters: Mapping[str, Any]) -> None:
        name = f"{local_name(table, self._cluster)}{on_cluster(self._cluster)}"
        self._client.command(
            f"ALTER TABLE {name} DELETE WHERE {where}", parameters=dict(parameters), settings=_MUTATION
        )


def _ns(column: str) -> str:
    return f"toUnixTimestamp64Nano({column})"


def _steps(sessions: Sequence[str], events: Sequence[str]) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    for start in range(0, max(len(sessions), len(events)), VALUES_PER_STEP):
        yield sessions[start : start + VALUES_PER_STEP], events[start : start + VALUES_PER_STEP]


def _whole(rows: pa.Table) -> pa.Table:
    """`rows` with the columns of events in their order and types, those with content empty."""
    count = rows.num_rows
    columns = []
    for wanted in SCHEMA:
        if wanted.name in rows.column_names:
            columns.append(_cast(rows.column(wanted.name), wanted.type))
        else:
            columns.append(pa.nulls(count, wanted.type))
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _as(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_arrays(
        [_cast(rows.column(name), schema.field(name).type) for name in schema.names], schema=schema
    )


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):  # LowCardinality
        column = column.cast(column.type.value_type)
    return column.cast(kind)
