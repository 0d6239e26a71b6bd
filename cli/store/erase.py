"""`erase`: take the content of a session, or of all that is about a person, out of the store; and say what Kafka still has."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from cli.client.options import Json
from cli.client.usage import WrongUsage
from cli.render import console
from cli.render.json_lines import json_line
from cli.render.tables import cell, table
from cli.render.text import count, plural
from cli.store.connection import RUN_SECONDS, administration
from cli.store.kafka_left import what_kafka_keeps
from cli.store.options import Sink
from contracts.v1 import store_admin_pb2 as messages


def erase(
    tenant: Annotated[str, typer.Option(metavar="ID", help="Whose.")],
    session: Annotated[str, typer.Option(metavar="ID", help="Erase one session.")] = "",
    subject: Annotated[
        str,
        typer.Option(
            metavar="ID",
            help="Erase every session in which an event names this person, at SINK_SUBJECT_PATHS of the sink "
            "($.metadata.user_id).",
        ),
    ] = "",
    project: Annotated[str, typer.Option(metavar="ID", help="In this project only. Without: in every project.")] = "",
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Kept, and shown in place of the content: no personal data.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
    sink: Sink = None,
) -> None:
    """Take content out of the store, for good. Who, when and where stays, and statistics stay exact.

    Neither a replay nor a late copy brings it back. A legal hold forbids it. What Kafka still has, and until when, is printed.
    """
    if bool(session) == bool(subject):
        raise WrongUsage("give either --session or --subject")
    request = messages.EraseRequest(
        tenant_id=tenant, project_id=project, session_id=session, subject=subject, reason=reason, dry_run=True
    )
    with administration(sink) as admin:
        found = admin.call("Erase", request, RUN_SECONDS)
        if not as_json:
            _show(found, dry=True)
        if not dry_run:
            if not yes:
                _ask(found)
            request.dry_run = False
            found = admin.call("Erase", request, RUN_SECONDS)
    if as_json:
        typer.echo(json_line(found))
        return
    if not dry_run:
        typer.echo(f"erased, as {found.erasure_id}")
    typer.echo(what_kafka_keeps())


def _show(found: Any, *, dry: bool) -> None:
    typer.echo(f"{plural(len(found.session_ids), 'session')} {'to erase' if dry else 'erased'}")
    if not found.erased:
        typer.echo("no content of it is in the store; nothing that comes later will get there")
        return
    rows = table("*table", ">rows with content")
    for one in found.erased:
        rows.add_row(cell(one.table), count(one.rows))
    console.results().print(rows)


def _ask(found: Any) -> None:
    if not sys.stdin.isatty():
        raise WrongUsage("nobody can be asked here: give --yes (or --dry-run to look first)")
    rows = sum(one.rows for one in found.erased)
    if not typer.confirm(f"Erase the content of {plural(rows, 'row')}? It cannot be brought back."):
        raise typer.Exit(0)
