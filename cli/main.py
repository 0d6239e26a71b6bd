"""The console script ``chaukas-gateway``. Every command group is a package or module with ``register(app)``."""

from __future__ import annotations

import typer

from cli import capacity, client, dlq, keys, store, topics
from cli.doctor import commands as doctor
from cli.stack import commands as stack

app = typer.Typer(
    name="chaukas-gateway",
    help="The open backend for AI-agent audit events.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
stack.register(app)
topics.register(app)
doctor.register(app)
capacity.register(app)
keys.register(app)
client.register(app)
dlq.register(app)
store.register(app)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
