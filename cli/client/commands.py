"""Which function stands behind which command."""

from __future__ import annotations

import typer

from cli.client.export import export
from cli.client.handoffs import handoffs
from cli.client.import_files import import_files
from cli.client.mcp import mcp
from cli.client.query import query
from cli.client.send import send
from cli.client.stats import stats
from cli.client.tail import tail


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("send")(send)
    app.command("import")(import_files)
    app.command("query")(query)
    app.command("tail")(tail)
    app.command("export")(export)
    app.command("stats")(stats)
    app.command("handoffs")(handoffs)
    app.command("mcp")(mcp)
