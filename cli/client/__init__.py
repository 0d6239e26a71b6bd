"""The commands that talk to a gateway over gRPC: `send`, `query`, `stats`, `handoffs`, `mcp`."""

from cli.client.commands import register

__all__ = ["register"]
