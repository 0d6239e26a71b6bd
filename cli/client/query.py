"""`query`: stored events by any field of the spec's QueryFilter, as a table, a session tree or JSON lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from chaukas.spec.common.v1 import events_pb2, query_pb2
from chaukas.spec.server.v1 import server_pb2

from cli.client import options
from cli.client.connection import Connection
from cli.client.errors import clear_errors
from cli.client.pages import pages
from cli.client.patience import Patience
from cli.client.usage import WrongUsage
from cli.render import console, names
from cli.render.events import event_table
from cli.render.json_lines import json_line
from cli.render.text import count
from cli.render.tree import build
from cli.render.tree_view import session_view

#: A session with more events than this is cut in the tree view.
TREE_LIMIT = 5000


def query(
    tenant: options.Tenant = None,
    project: options.Project = None,
    session: options.Session = None,
    agent: options.Agent = None,
    span: options.Span = None,
    trace: options.Trace = None,
    event_type: options.Types = None,
    status: options.Statuses = None,
    severity: options.Severities = None,
    tag: options.Tags = None,
    text: options.Text = None,
    since: options.Since = None,
    until: options.Until = None,
    limit: options.Limit = 50,
    everything: options.All = False,
    ascending: options.Ascending = False,
    tree: Annotated[
        bool, typer.Option("--tree", help="The session as a tree with durations; needs --session.")
    ] = False,
    as_json: options.Json = False,
    endpoint: options.Endpoint = None,
    api_key: options.ApiKey = None,
    tls: options.Tls = False,
    ca_file: options.CaFile = None,
) -> None:
    """Find stored events: newest first, as a table, a session tree, or JSON lines."""
    if tree and not session:
        raise WrongUsage("--tree shows one session: give --session")
    if tree and as_json:
        raise WrongUsage("--tree is for people and --json for machines: give one of them")
    chosen = event_filter(
        options.query_filter(
            tenant=tenant,
            project=project,
            session=session,
            agent=agent,
            span=span,
            trace=trace,
            text=text,
            since=since,
            until=until,
        ),
        event_type,
        status,
        severity,
        tag,
    )
    target = options.target(endpoint, api_key, tls, ca_file)
    with clear_errors(target), Connection(target) as connection:
        if tree:
            _show_tree(connection, chosen)
            return
        found = find_events(connection, chosen, None if everything else limit, options.order(ascending))
        if as_json:
            for page in found:
                for event in page:
                    typer.echo(json_line(event))
            return
        _show_tables(found)


def event_filter(
    chosen: query_pb2.QueryFilter,
    types: list[str] | None,
    statuses: list[str] | None,
    severities: list[str] | None,
    tags: list[str] | None,
) -> query_pb2.QueryFilter:
    """`chosen` itself, with the parts that only events have. Raises :class:`WrongUsage`."""
    chosen.types.extend(_numbers("--type", names.EventType, types))
    chosen.statuses.extend(_numbers("--status", names.EventStatus, statuses))
    chosen.severities.extend(_numbers("--severity", names.Severity, severities))
    chosen.tags.extend(tags or ())
    return chosen


def find_events(
    connection: Connection,
    chosen: query_pb2.QueryFilter,
    limit: int | None,
    order: query_pb2.SortOrder,
    patience: Patience | None = None,
) -> Iterator[Sequence[events_pb2.Event]]:
    """Pages of matching events; with `patience`, pages that fail are asked for again. Raises ``grpc.RpcError``."""

    def fetch(size: int, token: str) -> tuple[Sequence[events_pb2.Event], str]:
        request = server_pb2.QueryEventsRequest(
            query=query_pb2.QueryRequest(filter=chosen, page_size=size, page_token=token, order_by_time=order)
        )

        def ask() -> Any:
            return connection.call(connection.server.QueryEvents, request).response

        response = ask() if patience is None else patience.call(ask)
        return response.events, response.next_page_token

    return pages(fetch, limit)


def _show_tables(found: Iterator[Sequence[events_pb2.Event]]) -> None:
    out, shown = console.results(), 0
    for page in found:
        out.print(event_table(page))
        shown += len(page)
    if not shown:
        typer.echo("no events match", err=True)


def _show_tree(connection: Connection, chosen: query_pb2.QueryFilter) -> None:
    found = find_events(connection, chosen, TREE_LIMIT + 1, query_pb2.SORT_ORDER_ASC)
    events = [event for page in found for event in page]
    if not events:
        typer.echo("no events match", err=True)
        return
    console.results().print(session_view(build(events[:TREE_LIMIT])))
    if len(events) > TREE_LIMIT:
        typer.echo(f"only the first {count(TREE_LIMIT)} events are shown; narrow it with --since or --until", err=True)


def _numbers(option: str, enum: Any, texts: list[str] | None) -> list[int]:
    try:
        return [names.parse(enum, text) for text in texts or ()]
    except ValueError as error:
        raise WrongUsage(f"{option}: {error}") from None
