"""From a request's filter to conditions and parameters. Pure.

Text that reaches the engine as SQL comes from this package's files alone; whatever a request says is a server-side parameter
(``{name:Type}``). The statements are in ``sql/``; ``$name`` in them is filled with conditions made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from string import Template
from typing import Any

from chaukas.spec.common.v1 import events_pb2, query_pb2

from contracts.errors import FieldViolation, InvalidInput
from contracts.v1 import facts_pb2
from sink.query.identity import Scope
from sink.query.pages import Position
from sink.query.ranges import NsRange
from sink.query.words import WORD_PATTERN, has_index_tokens, searchable

_TIME = "fromUnixTimestamp64Nano({{{name}:Int64}}, 'UTC')"

_DAY_NS = 86_400 * 10**9

#: MCP calls have a status of their own; these are the ones an EventStatus stands for.
MCP_STATUS_OF = {
    events_pb2.EVENT_STATUS_COMPLETED: facts_pb2.MCP_CALL_STATUS_OK,
    events_pb2.EVENT_STATUS_FAILED: facts_pb2.MCP_CALL_STATUS_ERROR,
    events_pb2.EVENT_STATUS_STARTED: facts_pb2.MCP_CALL_STATUS_OPEN,
}


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL and the values of its parameters."""

    sql: str
    parameters: Mapping[str, Any]


@dataclass(slots=True)
class Where:
    """Conditions that all must hold, with the values they name."""

    conditions: list[str] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)

    def add(self, condition: str, **parameters: Any) -> None:
        self.conditions.append(condition)
        self.parameters.update(parameters)

    @property
    def sql(self) -> str:
        return "\n  AND ".join(self.conditions)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a list's order, and how a token's value of it becomes the column's type."""

    name: str
    literal: str


@dataclass(frozen=True, slots=True)
class Order:
    """A total order: its columns together tell any two rows apart. The first is a time."""

    columns: tuple[Column, ...]

    def sql(self, ascending: bool, scope: Scope) -> str:
        direction = "ASC" if ascending else "DESC"
        return ", ".join(f"{column.name} {direction}" for column in self._needed(scope))

    def after(self, where: Where, position: Position, ascending: bool, scope: Scope) -> None:
        """Only rows behind `position`. The bound on the time alone is redundant and lets the primary key cut."""
        sign = ">" if ascending else "<"
        for number, value in enumerate(position):
            where.parameters[f"after_{number}"] = value
        literals = [column.literal.format(name=f"after_{number}") for number, column in enumerate(self.columns)]
        where.add(f"{self.columns[0].name} {sign}= {literals[0]}")
        names = ", ".join(column.name for column in self.columns)
        where.add(f"({names}) {sign} ({', '.join(literals)})")

    def _needed(self, scope: Scope) -> tuple[Column, ...]:
        # With one project its column is constant; leaving it out lets the engine read in the table's own order.
        if scope.one_project is None:
            return self.columns
        return tuple(column for column in self.columns if column.name != "project_id")


_PROJECT = Column("project_id", "{{{name}:String}}")
EVENT_ORDER = Order((Column("ts", _TIME), Column("event_hash", "{{{name}:UInt64}}"), _PROJECT))
HANDOFF_ORDER = Order(
    (
        Column("handed_off_at", _TIME),
        Column("source_offset", "{{{name}:UInt64}}"),
        Column("source_partition", "{{{name}:UInt32}}"),
        Column("handoff_id", "{{{name}:String}}"),
        _PROJECT,
    )
)
MCP_ORDER = Order((Column("at", _TIME), Column("call_id", "{{{name}:String}}"), _PROJECT))


@cache
def template(name: str) -> Template:
    """The statement in ``sql/<name>.sql``, without its comments."""
    text = (resources.files(__package__) / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    return Template("\n".join(line for line in text.splitlines() if not line.startswith("--")))


def scoped(scope: Scope) -> Where:
    """The condition every statement starts with."""
    where = Where()
    where.add("tenant_id = {tenant_id:String}", tenant_id=scope.tenant_id)
    if scope.one_project is not None:
        where.add("project_id = {project_id:String}", project_id=scope.one_project)
    elif scope.projects is not None:
        where.add("project_id IN {project_ids:Array(String)}", project_ids=list(scope.projects))
    return where


def within(where: Where, column: str, bounds: NsRange) -> None:
    """Start inclusive, end exclusive."""
    if bounds.start is not None:
        where.add(f"{column} >= {_TIME.format(name='start_ns')}", start_ns=bounds.start)
    if bounds.end is not None:
        where.add(f"{column} < {_TIME.format(name='end_ns')}", end_ns=bounds.end)


def event_page(
    scope: Scope, filters: query_pb2.QueryFilter, bounds: NsRange, ascending: bool, after: Position | None, limit: int
) -> Statement:
    """Candidates of a QueryEvents page: (ts_ns, event_hash, project_id), perhaps several times; :func:`event_confirm` decides."""
    where = scoped(scope)
    _event_filters(where, filters)
    within(where, "ts", bounds)
    text = searchable(filters.text_query)
    if text and has_index_tokens(text):
        where.add("hasAllTokens(lowerUTF8(search_text), lowerUTF8({text:String}))", text=text)
    elif text:
        where.add(_all_words(where, "search_text", text))
    return _page("event_page", EVENT_ORDER, where, scope, ascending, after, limit)


def event_confirm(scope: Scope, filters: query_pb2.QueryFilter, positions: list[Position]) -> Statement:
    """Those of `positions` where a row stands that matches: (ts_ns, event_hash, project_id), row_bytes."""
    matches = Where()
    _event_filters(matches, filters)
    words = "1"
    if text := searchable(filters.text_query):
        words = _all_words(matches, "argMax(search_text, (version, ingested_at))", text)
    sql = template("event_confirm").substitute(matches=matches.sql or "1", words=words)
    return Statement(sql, {**matches.parameters, "tenant_id": scope.tenant_id, "positions": positions})


def _event_filters(where: Where, filters: query_pb2.QueryFilter) -> None:
    """Everything but time, which a position settles, and text, for which an index only proposes."""
    _equal(where, filters, "session_id", "agent_id", "span_id", "trace_id")
    for name, column in (("types", "type"), ("statuses", "effective_status"), ("severities", "severity")):
        _any_of(where, column, name, list(getattr(filters, name)))
    if filters.tags:
        where.add("hasAll(tags, {tags:Array(String)})", tags=list(dict.fromkeys(filters.tags)))


def handoff_page(
    scope: Scope, filters: query_pb2.QueryFilter, bounds: NsRange, ascending: bool, after: Position | None, limit: int
) -> Statement:
    """Candidates of a ListHandoffs page: HANDOFF_ORDER's columns, row_bytes, exact, session_id."""
    where = scoped(scope)
    _equal(where, filters, "session_id", "span_id", "trace_id")
    if filters.agent_id:
        where.add("(from_agent_id = {agent_id:String} OR to_agent_id = {agent_id:String})", agent_id=filters.agent_id)
    within(where, "handed_off_at", bounds)
    text = searchable(filters.text_query)
    if text:
        where.add(_all_words(where, "reason", text))
    return _page("handoff_page", HANDOFF_ORDER, where, scope, ascending, after, limit)


def mcp_page(
    scope: Scope, filters: query_pb2.QueryFilter, bounds: NsRange, ascending: bool, after: Position | None, limit: int
) -> Statement:
    """Candidates of a ListMcpCalls page: (at_ns, call_id, project_id), row_bytes, exact."""
    where = scoped(scope)
    _equal(where, filters, "session_id", "agent_id", "span_id", "trace_id")
    if filters.statuses:
        known = [MCP_STATUS_OF[status] for status in filters.statuses if status in MCP_STATUS_OF]
        where.add("status IN {statuses:Array(Int32)}", statuses=sorted(set(known)))
    within(where, "at", bounds)
    text = searchable(filters.text_query)
    if text:
        where.add(_all_words(where, "concat(server_name, ' ', operation, ' ', error_message)", text))
    return _page("mcp_page", MCP_ORDER, where, scope, ascending, after, limit)


def event_stats(scope: Scope, bounds: NsRange) -> Statement:
    where = scoped(scope)
    within(where, "ts", bounds)
    return Statement(template("event_stats").substitute(where=where.sql), where.parameters)


def stats_plan(scope: Scope, bounds: NsRange, days: range, seen_us: int) -> Statement:
    """raw_days, used_days, days: which of `days` (days since 1970) are counted, and which are to be read."""
    where, events = scoped(scope), scoped(scope)
    _days(where, days)
    within(events, "ts", bounds)
    sql = template("stats_plan").substitute(days=where.sql, events=events.sql)
    return Statement(sql, {**where.parameters, **events.parameters, "seen_us": seen_us})


def stats_day(scope: Scope, bounds: NsRange, day: int, seen_us: int) -> Statement:
    """As :func:`event_stats` for `bounds` that are the whole of `day`, from its counts; and whether they can be used."""
    where, events = scoped(scope), scoped(scope)
    _days(where, range(day, day + 1))
    within(events, "ts", bounds)
    sql = template("stats_day").substitute(days=where.sql, events=events.sql)
    return Statement(sql, {**where.parameters, **events.parameters, "seen_us": seen_us})


def stats_days(scope: Scope, bounds: NsRange, days: range, raw_days: list[tuple[str, int]]) -> Statement:
    """As :func:`event_stats`, with the counts of `days`, `raw_days` left out, in place of their events; and used_days."""
    where, events = scoped(scope), scoped(scope)
    _days(where, days)
    within(events, "ts", bounds)
    # The start and the end of the range that are no whole days, and the days that are not counted.
    read = ["(project_id, toInt32(toDate32(ts))) IN {raw_days:Array(Tuple(String, Int32))}"] if raw_days else []
    first_ns, last_ns = days.start * _DAY_NS, days.stop * _DAY_NS
    if bounds.start not in (None, first_ns):
        read.append(f"ts < {_TIME.format(name='first_ns')}")
        events.parameters["first_ns"] = first_ns
    if bounds.end not in (None, last_ns):
        read.append(f"ts >= {_TIME.format(name='last_ns')}")
        events.parameters["last_ns"] = last_ns
    events.add(f"({' OR '.join(read) or '0'})")
    sql = template("stats_days").substitute(days=where.sql, events=events.sql)
    return Statement(sql, {**where.parameters, **events.parameters, "raw_days": raw_days})


def _days(where: Where, days: range) -> None:
    where.add("counted.day >= toDate32({first_day:Int32})", first_day=days.start)
    where.add("counted.day < toDate32({last_day:Int32})", last_day=days.stop)


def mcp_stats(scope: Scope, bounds: NsRange) -> Statement:
    where = scoped(scope)
    within(where, "at", bounds)
    return Statement(template("mcp_stats").substitute(where=where.sql), where.parameters)


def handoff_stats(scope: Scope, bounds: NsRange) -> Statement:
    """Loops depend on the whole session, so sessions are chosen by the range and counted within it only afterwards."""
    within_range = Where()
    within(within_range, "handed_off_at", bounds)
    sessions = scoped(scope)
    if within_range.conditions:
        touched = Where([*sessions.conditions, *within_range.conditions])
        sessions.add(template("sessions_touched").substitute(where=touched.sql))
    sql = template("handoff_stats").substitute(session_hops=_session_hops(sessions), range=within_range.sql or "1")
    return Statement(sql, {**sessions.parameters, **within_range.parameters})


def handoff_hops(scope: Scope, sessions: list[tuple[str, str]], positions: list[tuple[Any, ...]]) -> Statement:
    """hop and returns_to_earlier_agent of the hand-offs at `positions`, which lie in `sessions` (project, session)."""
    where = scoped(scope)
    where.add("session_id IN {session_ids:Array(String)}", session_ids=sorted({session for _, session in sessions}))
    where.add("(project_id, session_id) IN {sessions:Array(Tuple(String, String))}", sessions=sessions)
    sql = template("handoff_hops").substitute(session_hops=_session_hops(where))
    return Statement(sql, {**where.parameters, "positions": positions})


def rows_at(name: str, scope: Scope, positions: list[tuple[Any, ...]]) -> Statement:
    """The whole rows at `positions`; the statement `name` says of which table and in which order of columns."""
    return Statement(template(name).substitute(), {"tenant_id": scope.tenant_id, "positions": positions})


def refuse(filters: query_pb2.QueryFilter, names: tuple[str, ...], field: str) -> None:
    """Filters that mean nothing for a list are an error, not ignored: an answer would look filtered. Raises InvalidInput."""
    used = [name for name in names if getattr(filters, name)]
    if used:
        raise InvalidInput([FieldViolation(f"{field}.{name}", "does not apply to this list") for name in used])


def _page(
    name: str,
    order: Order,
    where: Where,
    scope: Scope,
    ascending: bool,
    after: Position | None,
    limit: int,
    **parts: str,
) -> Statement:
    if after is not None:
        order.after(where, after, ascending, scope)
    sql = template(name).substitute(where=where.sql, order=order.sql(ascending, scope), **parts)
    return Statement(sql, {**where.parameters, "limit": limit})


def _session_hops(where: Where) -> str:
    return template("session_hops").substitute(where=where.sql)


def _equal(where: Where, filters: query_pb2.QueryFilter, *names: str) -> None:
    for name in names:
        value = getattr(filters, name)
        if value:
            where.add(f"{name} = {{{name}:String}}", **{name: value})


def _any_of(where: Where, column: str, name: str, values: list[int]) -> None:
    if values:
        where.add(f"{column} IN {{{name}:Array(Int32)}}", **{name: sorted(set(values))})


def _all_words(where: Where, text_sql: str, text: str) -> str:
    where.parameters.update(text=text, word=WORD_PATTERN)
    return f"hasAll(extractAll(lowerUTF8({text_sql}), {{word:String}}), extractAll(lowerUTF8({{text:String}}), {{word:String}}))"
