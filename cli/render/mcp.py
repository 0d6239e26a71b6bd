"""MCP calls and servers as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from cli.render import marks, names
from cli.render.events import SESSION_TAIL, tail
from cli.render.tables import cell, table
from cli.render.text import count, duration, moments, percent
from contracts.v1 import facts_pb2, insights_pb2


def call_table(calls: Sequence[facts_pb2.McpCallFact]) -> Table:
    """One row per call."""
    heading, times = moments([call.started_at if call.HasField("started_at") else call.ended_at for call in calls])
    rows = table(heading, "session", "*agent", "*server", "*operation", "", "status", ">duration", "*error")
    for call, time in zip(calls, times, strict=True):
        measured = call.measured_ms if call.HasField("measured_ms") else None
        reported = call.reported_ms if call.HasField("reported_ms") else None
        rows.add_row(
            time,
            cell(tail(call.session_id, SESSION_TAIL), "dim"),
            cell(call.agent_name or call.agent_id),
            cell(call.server_name or call.server_url),
            cell(call.operation or call.method),
            marks.BY_MCP_STATUS.get(call.status, marks.UNKNOWN),
            names.short(names.McpCallStatus, call.status).lower().replace("_", " "),
            duration(measured if measured is not None else reported),
            cell(": ".join(part for part in (call.error_code, call.error_message) if part), "red"),
        )
    return rows


def server_table(servers: Iterable[insights_pb2.McpServerStats], *, title: str | None = None) -> Table:
    """One row per server and operation."""
    rows = table(
        "server", "operation", ">calls", ">errors", ">error rate", ">open", ">p50", ">p95", ">p99", title=title
    )
    for server in servers:
        rows.add_row(
            cell(server.server_name or "(unnamed)"),
            cell(server.operation),
            count(server.calls),
            _warn(server.errors, "red"),
            Text(percent(server.errors, server.calls), "red" if server.errors else "dim"),
            _warn(server.open, "yellow"),
            duration(server.p50_ms) if server.HasField("p50_ms") else "",
            duration(server.p95_ms) if server.HasField("p95_ms") else "",
            duration(server.p99_ms) if server.HasField("p99_ms") else "",
        )
    return rows


def _warn(number: int, style: str) -> Text:
    return Text(count(number), style if number else "dim")
