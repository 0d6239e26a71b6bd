"""`mcp`: the calls agents made to MCP servers, which failed, and which never ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from chaukas.spec.common.v1 import events_pb2

from cli.client import insights, options
from cli.client.connection import Connection
from cli.client.errors import clear_errors
from cli.client.pages import pages
from cli.client.usage import WrongUsage
from cli.render import names
from cli.render.mcp import call_table, server_table
from contracts.v1 import facts_pb2, insights_pb2

#: A call's state by the name `mcp` prints, and the event status by which the filter asks for it.
STATUSES: dict[str, int] = {
    "OK": events_pb2.EVENT_STATUS_COMPLETED,
    "ERROR": events_pb2.EVENT_STATUS_FAILED,
    "OPEN": events_pb2.EVENT_STATUS_STARTED,
}


def mcp(
    tenant: options.Tenant = None,
    project: options.Project = None,
    session: options.Session = None,
    agent: Annotated[str | None, typer.Option(metavar="ID", help="Made by this agent (its id).")] = None,
    span: options.Span = None,
    trace: options.Trace = None,
    status: Annotated[
        list[str] | None, typer.Option(metavar="STATUS", help="OK, ERROR or OPEN (never ended); repeat for any.")
    ] = None,
    text: options.Text = None,
    since: options.Since = None,
    until: options.Until = None,
    limit: options.Limit = 50,
    everything: options.All = False,
    ascending: options.Ascending = False,
    as_stats: Annotated[
        bool, typer.Option("--stats", help="Per server and operation: calls, errors, open, latency quantiles.")
    ] = False,
    as_json: options.Json = False,
    endpoint: options.Endpoint = None,
    api_key: options.ApiKey = None,
    tls: options.Tls = False,
    ca_file: options.CaFile = None,
) -> None:
    """List the MCP calls of agents, or their statistics."""
    if as_stats:
        insights.refuse_list_options(session=session, agent=agent, span=span, trace=trace, status=status, text=text)
    chosen = options.query_filter(
        tenant=tenant,
        project=project,
        session=session,
        agent=agent,
        span=span,
        trace=trace,
        text=text,
        since=since,
        until=until,
    )
    chosen.statuses.extend(_status(text) for text in status or ())
    target = options.target(endpoint, api_key, tls, ca_file)
    with clear_errors(target), Connection(target) as connection:
        if as_stats:
            request = insights_pb2.GetMcpStatsRequest(**insights.scope(chosen))
            servers = connection.call(connection.insights.GetMcpStats, request).servers
            insights.show(as_json, servers, server_table, "no MCP calls in this range")
            return

        def fetch(size: int, token: str) -> tuple[Sequence[facts_pb2.McpCallFact], str]:
            answer = connection.call(
                connection.insights.ListMcpCalls,
                insights_pb2.ListMcpCallsRequest(
                    filter=chosen, page_size=size, page_token=token, order_by_time=options.order(ascending)
                ),
            )
            return answer.calls, answer.next_page_token

        insights.show_pages(as_json, pages(fetch, None if everything else limit), call_table, "no MCP calls match")


def _status(text: str) -> int:
    own = STATUSES.get(text.strip().upper())
    if own is not None:
        return own
    try:
        return names.parse(names.EventStatus, text)
    except ValueError:
        raise WrongUsage(f"--status: {text!r} is none of {', '.join(STATUSES)}") from None
