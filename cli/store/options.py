"""Options that the commands of this group share."""

from __future__ import annotations

from typing import Annotated

import typer

Sink = Annotated[
    str | None,
    typer.Option(
        "--sink",
        metavar="HOST:PORT",
        help="The sink's gRPC port. Default: GATEWAY_SINK_TARGET, else SINK_GRPC_HOST and SINK_GRPC_PORT, else the local "
        "stack, else 127.0.0.1:50052. The token is SINK_ADMIN_TOKEN, or the local stack's.",
        rich_help_panel="Connection",
    ),
]
