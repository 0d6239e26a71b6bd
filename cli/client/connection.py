"""A gRPC connection to the gateway: stubs, credentials, deadlines. Blocking; one per command."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from chaukas.spec.server.v1 import server_pb2_grpc

from cli.client.target import Target, channel
from contracts.topics import MIB
from contracts.v1 import insights_pb2_grpc

#: Longest time one call may take, seconds; above the gateway's own deadline for its dependencies.
CALL_SECONDS = 30.0


class Connection:
    """The gateway's services with the caller's key on every call. Close it, or use it as a context manager."""

    def __init__(self, target: Target) -> None:
        """Raises :class:`cli.client.usage.WrongUsage` for certificates that cannot be used."""
        self.target = target
        options = [("grpc.max_receive_message_length", 16 * MIB), ("grpc.max_send_message_length", 16 * MIB)]
        self._channel = channel(target, options)
        self.server: Any = server_pb2_grpc.ChaukasServerServiceStub(self._channel)
        self.insights: Any = insights_pb2_grpc.InsightsServiceStub(self._channel)  # type: ignore[no-untyped-call]

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.target.api_key}"),)

    def call(self, method: Any, request: Any, timeout_seconds: float = CALL_SECONDS) -> Any:
        """One unary call. Raises ``grpc.RpcError``."""
        return method(request, timeout=timeout_seconds, metadata=self.metadata)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
