"""The commands that talk to a gateway over gRPC: `send`, `query`, `stats`, `handoffs`, `mcp`."""

import os

# gRPC's core reads this when it is first imported. Its notes about a connection that closes are not for a person's terminal.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from cli.client.commands import register

__all__ = ["register"]
