"""What an operator does to a running sink's store: `retention`, `hold`, `erase`. They talk to the sink itself, not to the gateway."""

import os

# As in cli.client: gRPC's core reads this when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from cli.store.commands import register

__all__ = ["register"]
