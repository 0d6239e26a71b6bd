"""`stats`: totals, sessions and events by type, exact over what is stored."""

from __future__ import annotations

import typer
from chaukas.spec.server.v1 import server_pb2

from cli.client import options
from cli.client.connection import Connection
from cli.client.errors import clear_errors
from cli.render import console
from cli.render.json_lines import json_line
from cli.render.stats import stats_view


def stats(
    tenant: options.Tenant = None,
    project: options.Project = None,
    since: options.Since = None,
    until: options.Until = None,
    as_json: options.Json = False,
    endpoint: options.Endpoint = None,
    api_key: options.ApiKey = None,
    tls: options.Tls = False,
    ca_file: options.CaFile = None,
) -> None:
    """Count events and sessions."""
    request = server_pb2.GetEventStatsRequest(
        tenant_id=tenant or "", project_id=project or "", time_range=options.time_range(since, until)
    )
    target = options.target(endpoint, api_key, tls, ca_file)
    with clear_errors(target), Connection(target) as connection:
        answer = connection.call(connection.server.GetEventStats, request)
    if as_json:
        typer.echo(json_line(answer))
    else:
        console.results().print(stats_view(answer))
