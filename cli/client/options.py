"""Options the commands share, and what they mean: connection, scope, time range, paging."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer
from chaukas.spec.common.v1 import query_pb2

from cli.client.target import Target, resolve
from cli.client.times import ALLOWED, parse_time
from cli.client.usage import WrongUsage

Endpoint = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="The gateway's gRPC door. Default: GATEWAY_ENDPOINT, else the local stack, else 127.0.0.1:50051.",
        rich_help_panel="Connection",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="Default: CHAUKAS_API_KEY, else the local stack's development key. An option is visible to other "
        "users of this machine; prefer the variable.",
        rich_help_panel="Connection",
    ),
]
Tls = Annotated[
    bool,
    typer.Option(
        "--tls",
        help="Encrypt, and check the certificate; so do https://HOST:PORT and --ca-file.",
        rich_help_panel="Connection",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="CA (PEM) of the gateway's certificate. Default: GATEWAY_ENDPOINT_CA_FILE, else the usual ones. A client's own "
        "certificate: GATEWAY_ENDPOINT_CERT_FILE and GATEWAY_ENDPOINT_KEY_FILE.",
        rich_help_panel="Connection",
    ),
]

Tenant = Annotated[str | None, typer.Option(metavar="ID", help="Default: the key's tenant.")]
Project = Annotated[str | None, typer.Option(metavar="ID", help="Default: all projects of the key.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help=f"Not before: {ALLOWED}.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Before (exclusive); written like --since.")]
Json = Annotated[bool, typer.Option("--json", help="For machines: one JSON object per line.")]
Limit = Annotated[int, typer.Option(min=1, metavar="N", help="At most this many.")]
All = Annotated[bool, typer.Option("--all", help="Everything that matches, page by page, whatever --limit says.")]
Ascending = Annotated[bool, typer.Option("--asc", help="Oldest first.")]
Session = Annotated[str | None, typer.Option(metavar="ID", help="Of this session.")]
Trace = Annotated[str | None, typer.Option(metavar="ID", help="Of this trace.")]
Span = Annotated[str | None, typer.Option(metavar="ID", help="Of this span; START and END share it.")]
Text = Annotated[str | None, typer.Option(metavar="WORDS", help="All of these words, in any case.")]
Agent = Annotated[str | None, typer.Option(metavar="ID", help="Of this agent (its id).")]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", metavar="TYPE", help="Such as MCP_CALL_END; repeat for any of several."),
]
Statuses = Annotated[
    list[str] | None,
    typer.Option(
        "--status", metavar="STATUS", help="STARTED, COMPLETED, FAILED, …: the effective status; repeat for any."
    ),
]
Severities = Annotated[
    list[str] | None,
    typer.Option("--severity", metavar="SEVERITY", help="DEBUG, INFO, WARN or ERROR; repeat for any."),
]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="Repeat: all must be there.")]


def target(endpoint: str | None, api_key: str | None, tls: bool, ca_file: Path | None = None) -> Target:
    """The gateway to talk to. Raises :class:`WrongUsage`."""
    return resolve(endpoint, api_key, tls=tls, ca_file=ca_file, environment=os.environ)


def time_range(since: str | None, until: str | None, now_ns: int | None = None) -> query_pb2.TimeRange | None:
    """The range, start inclusive, end exclusive; None when neither end is given. Raises :class:`WrongUsage`."""
    if since is None and until is None:
        return None
    now_ns = time.time_ns() if now_ns is None else now_ns
    chosen = query_pb2.TimeRange()
    for option, text, end in (("--since", since, chosen.start), ("--until", until, chosen.end)):
        if text is not None:
            try:
                end.CopyFrom(parse_time(text, now_ns))
            except ValueError as error:
                raise WrongUsage(f"{option}: {error}") from None
    if chosen.HasField("start") and chosen.HasField("end"):
        start, stop = chosen.start, chosen.end
        if (start.seconds, start.nanos) >= (stop.seconds, stop.nanos):
            raise WrongUsage("--since is not before --until: nothing could match")
    return chosen


def query_filter(
    *,
    tenant: str | None = None,
    project: str | None = None,
    session: str | None = None,
    agent: str | None = None,
    span: str | None = None,
    trace: str | None = None,
    text: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> query_pb2.QueryFilter:
    """The parts of a filter that all lists share. Raises :class:`WrongUsage`."""
    return query_pb2.QueryFilter(
        tenant_id=tenant or "",
        project_id=project or "",
        session_id=session or "",
        agent_id=agent or "",
        span_id=span or "",
        trace_id=trace or "",
        text_query=text or "",
        time=time_range(since, until),
    )


def order(ascending: bool) -> query_pb2.SortOrder:
    return query_pb2.SORT_ORDER_ASC if ascending else query_pb2.SORT_ORDER_DESC
