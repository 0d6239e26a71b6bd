"""Which function stands behind which command."""

from __future__ import annotations

import typer

from cli.client.handoffs import handoffs
from cli.client.mcp import mcp
from cli.client.query import query
from cli.client.send import send
from cli.client.stats import stats


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("send")(send)
    app.command("query")(query)
    app.command("stats")(stats)
    app.command("handoffs")(handoffs)
    app.command("mcp")(mcp)
