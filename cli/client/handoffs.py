"""`handoffs`: which agent gave work to which, how long the other took to pick it up, and where work went in circles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from cli.client import insights, options
from cli.client.connection import Connection
from cli.client.errors import clear_errors
from cli.client.pages import pages
from cli.render.handoffs import edge_table, handoff_table
from contracts.v1 import facts_pb2, insights_pb2


def handoffs(
    tenant: options.Tenant = None,
    project: options.Project = None,
    session: options.Session = None,
    agent: Annotated[str | None, typer.Option(metavar="ID", help="With this agent on either side.")] = None,
    span: options.Span = None,
    trace: options.Trace = None,
    text: options.Text = None,
    since: options.Since = None,
    until: options.Until = None,
    limit: options.Limit = 50,
    everything: options.All = False,
    ascending: options.Ascending = False,
    as_stats: Annotated[
        bool, typer.Option("--stats", help="Per pair of agents: count, loops, latency quantiles.")
    ] = False,
    as_json: options.Json = False,
    endpoint: options.Endpoint = None,
    api_key: options.ApiKey = None,
    tls: options.Tls = False,
    ca_file: options.CaFile = None,
) -> None:
    """List the hand-offs between agents, or their statistics."""
    if as_stats:
        insights.refuse_list_options(session=session, agent=agent, span=span, trace=trace, text=text)
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
    target = options.target(endpoint, api_key, tls, ca_file)
    with clear_errors(target), Connection(target) as connection:
        if as_stats:
            request = insights_pb2.GetHandoffStatsRequest(**insights.scope(chosen))
            edges = connection.call(connection.insights.GetHandoffStats, request).edges
            insights.show(as_json, edges, edge_table, "no hand-offs in this range")
            return

        def fetch(size: int, token: str) -> tuple[Sequence[facts_pb2.HandoffFact], str]:
            answer = connection.call(
                connection.insights.ListHandoffs,
                insights_pb2.ListHandoffsRequest(
                    filter=chosen, page_size=size, page_token=token, order_by_time=options.order(ascending)
                ),
            )
            return answer.handoffs, answer.next_page_token

        insights.show_pages(as_json, pages(fetch, None if everything else limit), handoff_table, "no hand-offs match")
