"""Which function stands behind which command."""

from __future__ import annotations

import typer

from cli.dlq.accept import accept
from cli.dlq.listing import list_letters
from cli.dlq.replay import replay
from cli.dlq.show import show

dlq = typer.Typer(help="Dead letters: what could not be processed or stored, and why.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    dlq.command("list")(list_letters)
    dlq.command("show")(show)
    dlq.command("replay")(replay)
    dlq.command("accept")(accept)
    app.add_typer(dlq, name="dlq")
