"""`retention show|set|run` and `hold add|remove|list`; `erase` has a file of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.client.options import Json
from cli.render import console
from cli.render.json_lines import json_line
from cli.render.tables import cell, table
from cli.render.text import count
from cli.store.connection import RUN_SECONDS, administration
from cli.store.erase import erase
from cli.store.options import Sink
from contracts.v1 import store_admin_pb2 as messages

retention = typer.Typer(help="How long a running sink keeps events.", no_args_is_help=True)
hold = typer.Typer(help="Legal holds: what retention never deletes.", no_args_is_help=True)

HeldTenant = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant.")]
HeldSession = Annotated[str, typer.Option("--session", metavar="ID", help="One session; without: the whole tenant.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.add_typer(retention, name="retention")
    app.add_typer(hold, name="hold")
    app.command()(erase)


@retention.command()
def show(as_json: Json = False, sink: Sink = None) -> None:
    """Days by tenant."""
    with administration(sink) as admin:
        answer = admin.call("GetRetention", messages.GetRetentionRequest())
    if as_json:
        typer.echo(json_line(answer))
        return
    rows = table("*tenant", ">days")
    rows.add_row(cell("all others", "dim"), _days(answer.default_days))
    for tenant in answer.tenants:
        rows.add_row(cell(tenant.tenant_id), _days(tenant.days))
    console.results().print(rows)


@retention.command("set")
def set_days(
    days: Annotated[int, typer.Argument(min=0, max=100_000, help="Days to keep, counted from receipt; 0: for ever.")],
    tenant: Annotated[
        str, typer.Option(metavar="ID", help="Of this tenant. Without: of all tenants without days of their own.")
    ] = "",
    sink: Sink = None,
) -> None:
    """Keep events for that many days. The next run goes by it: nothing is deleted before."""
    with administration(sink) as admin:
        admin.call("SetRetention", messages.SetRetentionRequest(tenant_id=tenant, days=days))


@retention.command()
def run(as_json: Json = False, sink: Sink = None) -> None:
    """Delete what has expired, now; the writer does it every SINK_RETENTION_RUN_HOURS."""
    with administration(sink) as admin:
        answer = admin.call("RunRetention", messages.RunRetentionRequest(), RUN_SECONDS)
    if as_json:
        typer.echo(json_line(answer))
        return
    months = ", ".join(f"{month // 100}-{month % 100:02}" for month in answer.dropped_months)
    typer.echo(f"months dropped whole: {months or 'none'}")
    for deleted in answer.deleted:
        typer.echo(f"{deleted.table}: {count(deleted.rows)} rows deleted")


@hold.command()
def add(
    tenant: HeldTenant,
    session: HeldSession = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; shown by `hold list`.")] = "",
    sink: Sink = None,
) -> None:
    """Hold a tenant or a session. When the command returns it is held; it may wait for a run that began before."""
    request = messages.AddHoldRequest(tenant_id=tenant, session_id=session, reason=reason)
    with administration(sink) as admin:
        admin.call("AddHold", request, RUN_SECONDS)


@hold.command()
def remove(tenant: HeldTenant, session: HeldSession = "", sink: Sink = None) -> None:
    """Hold it no longer: the next run may delete it."""
    with administration(sink) as admin:
        admin.call("RemoveHold", messages.RemoveHoldRequest(tenant_id=tenant, session_id=session))


@hold.command("list")
def list_holds(as_json: Json = False, sink: Sink = None) -> None:
    """Holds in force."""
    with administration(sink) as admin:
        answer = admin.call("ListHolds", messages.ListHoldsRequest())
    if as_json:
        for held in answer.holds:
            typer.echo(json_line(held))
        return
    if not answer.holds:
        typer.echo("nothing is held", err=True)
        return
    rows = table("*tenant", "*session", "since (UTC)", "*reason")
    for held in answer.holds:
        since = f"{held.set_at.ToDatetime():%Y-%m-%d %H:%M:%S}"
        rows.add_row(cell(held.tenant_id), cell(held.session_id or "all"), cell(since), cell(held.reason))
    console.results().print(rows)


def _days(days: int) -> str:
    return count(days) if days else "for ever"
