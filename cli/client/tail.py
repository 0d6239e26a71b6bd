"""`tail`: events as they become visible, until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from chaukas.spec.common.v1 import events_pb2, query_pb2
from rich.console import Console
from rich.text import Text

from cli.client import options
from cli.client.connection import Connection
from cli.client.errors import clear_errors
from cli.client.following import Follower
from cli.client.patience import Patience
from cli.client.query import event_filter, find_events
from cli.client.times import parse_age
from cli.client.usage import WrongUsage
from cli.render import console, marks, names, server_facts
from cli.render.events import SESSION_TAIL
from cli.render.events import tail as ending
from cli.render.json_lines import json_line
from cli.render.summary import summary
from cli.render.text import clean, duration, moment, shorten


def tail(
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=1000, help="Begin with the newest few.")] = 10,
    interval: Annotated[
        float, typer.Option(min=0.2, max=60, metavar="SECONDS", help="Between two questions to the gateway.")
    ] = 1.0,
    lookback: Annotated[
        str,
        typer.Option(
            metavar="AGE", help="Events whose own time is further back when they arrive are missed; 60s, 5m, 1h."
        ),
    ] = "60s",
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
    as_json: options.Json = False,
    endpoint: options.Endpoint = None,
    api_key: options.ApiKey = None,
    tls: options.Tls = False,
    ca_file: options.CaFile = None,
) -> None:
    """Show events as they become visible, each once, until Ctrl-C (exit code 0). A gateway that is away is waited for."""
    chosen = event_filter(
        options.query_filter(
            tenant=tenant, project=project, session=session, agent=agent, span=span, trace=trace, text=text
        ),
        event_type,
        status,
        severity,
        tag,
    )
    try:
        lookback_seconds = parse_age(lookback)
    except ValueError as error:
        raise WrongUsage(f"--lookback: {error}") from None
    target = options.target(endpoint, api_key, tls, ca_file)
    messages = console.messages()
    patience = Patience(
        None,
        lambda error, seconds: messages.print(
            f"{error.line}; asking again in {duration(seconds * 1000)}", style="yellow"
        ),
    )
    with clear_errors(target), Connection(target) as connection:

        def read(since_ns: int) -> Iterator[Sequence[events_pb2.Event]]:
            asked = query_pb2.QueryFilter()
            asked.CopyFrom(chosen)
            asked.time.start.FromNanoseconds(since_ns)
            return find_events(connection, asked, None, query_pb2.SORT_ORDER_ASC, patience)

        try:
            show = _json if as_json else Rows(console.results())
            follower = Follower(read, lookback_seconds, time.time_ns)
            # Before the newest are asked for: what becomes visible in between comes with the first poll at the latest.
            follower.prime()
            newest = find_events(connection, chosen, lines, query_pb2.SORT_ORDER_DESC, patience) if lines else ()
            begin = [event for page in newest for event in page][::-1]
            follower.shown(begin)
            show(begin)
            while True:
                time.sleep(interval)
                for page in follower.poll():
                    show(page)
        except KeyboardInterrupt:
            return
        except BrokenPipeError:
            console.reader_left()
            return


def _json(events: Sequence[events_pb2.Event]) -> None:
    for event in events:
        typer.echo(json_line(event))


class Rows:
    """One line for each event, in columns of fixed width: what comes later cannot widen them."""

    def __init__(self, out: Console) -> None:
        self._out = out

    def __call__(self, events: Sequence[events_pb2.Event]) -> None:
        for event in events:
            self._out.print(line(event), no_wrap=True, overflow="ellipsis", crop=True)
        self._out.file.flush()


def line(event: events_pb2.Event) -> Text:
    """One event on one line; nothing of it is obeyed by a terminal."""
    facts = server_facts.read(event)
    who = shorten(clean(event.agent_name or event.agent_id), 16)
    made = Text.assemble(
        (f"{moment(event.timestamp):<23}  ", "dim"),
        (f"{clean(ending(event.session_id, SESSION_TAIL)):<{SESSION_TAIL}}  ", "dim"),
        f"{who:<16}  {names.short(names.EventType, event.type):<22} ",
    )
    made.append_text(marks.of_status(facts.effective_status))
    made.append(f" {duration(facts.duration_ms):>8}  {clean(summary(event, facts))}")
    return made
