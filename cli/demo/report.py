"""What `make up` prints in the end: the product in ten seconds. Pure: answers in, one renderable out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from cli.demo.waiting import Arrived
from cli.render.handoffs import handoff_table
from cli.render.mcp import server_table
from cli.render.server_facts import read
from cli.render.stats import headline
from cli.render.text import clean, count, dollars, duration, plural
from cli.render.tree import build
from cli.render.tree_view import tree_table
from cli.stack.endpoints import Endpoints
from contracts.v1 import insights_pb2

_LEGEND = Text("✖ failed   ◌ began and never ended   ↺ back to an agent that had the work before", "dim")


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything the report shows."""

    session_id: str
    arrived: Arrived
    servers: Sequence[insights_pb2.McpServerStats]
    #: ``GetEventStatsResponse`` over all that is stored.
    stats: Any
    sent_events: int
    complete: bool
    #: From the end of sending until everything could be asked for, seconds.
    visible_after_seconds: float


def report(found: Findings, endpoints: Endpoints, program: str = "chaukas-gateway") -> RenderableType:
    """The session, the hand-offs, the MCP servers, the totals, and where to ask; `program` as it can be typed here."""
    tree = build(found.arrived.events)
    parts: list[RenderableType] = [
        _heading(f"One session of two agents, session {found.session_id}"),
        _arrival(found),
        Text(),
        tree_table(tree),
        _LEGEND,
        Text(),
        handoff_table(found.arrived.handoffs, with_session=False, title="Hand-offs between agents"),
        Text(),
        server_table(found.servers, title="MCP servers"),
        Text(),
        _totals(found),
        Text(),
        _heading("Where it runs"),
        _endpoints(endpoints, found.session_id, program),
    ]
    return Group(*parts)


def render_exports(endpoints: Endpoints) -> RenderableType:
    """The lines that make an agent with the unmodified SDK send here; printed without wrapping, to be pasted."""
    lines = Text("\n".join(endpoints.exports()), "green", no_wrap=True, overflow="ignore")
    return Group(_heading("Send your own agent's events: paste this, then start the agent"), lines)


def _heading(text: str) -> RenderableType:
    return Rule(Text(clean(text), "bold"), align="left", style="dim")


def _arrival(found: Findings) -> Text:
    arrived = len(found.arrived.events)
    if found.complete:
        text = (
            f"{plural(arrived, 'event')} went SDK → HTTP → Kafka → Faust → ClickHouse "
            f"and came back {duration(found.visible_after_seconds * 1000)} after the last one."
        )
        return Text(text, "dim")
    missing = found.sent_events - arrived
    what = f"{count(missing)} of {plural(found.sent_events, 'event')}" if missing > 0 else "some derived facts"
    return Text(
        f"After {duration(found.visible_after_seconds * 1000)}, {what} cannot be seen yet: "
        "see `chaukas-gateway status` and `chaukas-gateway logs`.",
        "yellow",
    )


def _totals(found: Findings) -> RenderableType:
    prompt = completion = calls = 0
    cost, priced = 0.0, False
    for event in found.arrived.events:
        model = event.llm_invocation
        if event.HasField("llm_invocation") and (model.prompt_tokens or model.completion_tokens):
            calls, prompt, completion = calls + 1, prompt + model.prompt_tokens, completion + model.completion_tokens
        spent = read(event).cost_usd
        if spent is not None:
            cost, priced = cost + spent, True
    models = f"{plural(calls, 'model call')}, {count(prompt)} → {count(completion)} tokens"
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_row(Text("This session", "bold"), Text(models + (f", {dollars(cost)}" if priced else "")))
    rows.add_row(Text("Stored so far", "bold"), headline(found.stats))
    return rows


def _endpoints(endpoints: Endpoints, session_id: str, program: str) -> RenderableType:
    rows = Table.grid(padding=(0, 2, 0, 0))
    doors = [
        ("HTTP", endpoints.http_url, "the SDK's door, also JSON; /metrics /readyz /openapi.json"),
        ("gRPC", endpoints.grpc_target, "the spec's services, InsightsService, reflection"),
        ("Kafka", endpoints.kafka_bootstrap_servers, "raw and enriched events, hand-offs, MCP calls, dead letters"),
    ]
    for name, address, what in doors:
        if address:
            rows.add_row(Text(name, "bold"), f"{address:<22}", Text(what, "dim"))
    ask = Table.grid(padding=(0, 2, 0, 0))
    ask.add_row(Text("Ask  ", "bold"), Text(f"{program} query --session {clean(session_id)} --tree", overflow="fold"))
    ask.add_row("", Text(f"{program} stats | handoffs --stats | mcp --stats | query --help", "dim"))
    return Group(rows, ask)
