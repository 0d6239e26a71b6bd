"""Hand-offs and the edges between agents as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from cli.render import marks
from cli.render.events import SESSION_TAIL, tail
from cli.render.tables import cell, table
from cli.render.text import count, duration, moments
from contracts.v1 import facts_pb2, insights_pb2


def agent(name: str, identifier: str) -> str:
    return name or identifier or "?"


def handoff_table(
    handoffs: Sequence[facts_pb2.HandoffFact], *, with_session: bool = True, title: str | None = None
) -> Table:
    """One row per hand-off; the sign marks one that returns to an agent that had the work before."""
    heading, times = moments([fact.handed_off_at for fact in handoffs])
    columns = [heading, "session"] if with_session else []
    rows = table(*columns, ">hop", "*from", "*to", "", ">picked up after", "*reason", title=title)
    for fact, time in zip(handoffs, times, strict=True):
        where = (time, cell(tail(fact.session_id, SESSION_TAIL), "dim")) if with_session else ()
        rows.add_row(
            *where,
            str(fact.hop) if fact.hop else "",
            cell(agent(fact.from_agent_name, fact.from_agent_id)),
            _arrow(agent(fact.to_agent_name, fact.to_agent_id)),
            marks.LOOP + Text(" loop", "magenta") if fact.returns_to_earlier_agent else "",
            duration(fact.latency_ms) if fact.HasField("latency_ms") else Text("not yet", "yellow"),
            cell(fact.reason, "dim"),
        )
    return rows


def edge_table(edges: Iterable[insights_pb2.HandoffEdge]) -> Table:
    """One row per pair of agents."""
    rows = table("*from", "*to", ">hand-offs", ">loops", ">p50", ">p95", ">p99")
    for edge in edges:
        rows.add_row(
            cell(agent(edge.from_agent_name, edge.from_agent_id)),
            _arrow(agent(edge.to_agent_name, edge.to_agent_id)),
            count(edge.count),
            Text(count(edge.loops), "magenta" if edge.loops else "dim"),
            duration(edge.p50_latency_ms) if edge.HasField("p50_latency_ms") else "",
            duration(edge.p95_latency_ms) if edge.HasField("p95_latency_ms") else "",
            duration(edge.p99_latency_ms) if edge.HasField("p99_latency_ms") else "",
        )
    return rows


def _arrow(target: str) -> Text:
    return Text(no_wrap=True, overflow="ellipsis").append("→ ", "dim").append_text(cell(target))
