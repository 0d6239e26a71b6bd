"""A gRPC connection to the sink's ``StoreAdminService``. Blocking; one per command."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import grpc
import typer

from cli.client.errors import EXIT_FAILED, parse
from cli.client.target import Target, channel
from cli.render.text import clean
from cli.store.target import resolve
from contracts.identity import ADMIN_TOKEN_METADATA
from contracts.topics import MIB
from contracts.v1 import store_admin_pb2_grpc

#: Longest time a call may take, seconds. A retention run deletes from a whole store, and a hold waits for one.
CALL_SECONDS, RUN_SECONDS = 30.0, 3_600.0


class Admin:
    """Calls with the operator's token."""

    def __init__(self, target: Target, opened: Any) -> None:
        self._metadata = ((ADMIN_TOKEN_METADATA, target.api_key),)
        self._stub: Any = store_admin_pb2_grpc.StoreAdminServiceStub(opened)  # type: ignore[no-untyped-call]

    def call(self, method: str, request: Any, timeout_seconds: float = CALL_SECONDS) -> Any:
        """One unary call. Raises ``grpc.RpcError``."""
        return getattr(self._stub, method)(request, timeout=timeout_seconds, metadata=self._metadata)


@contextlib.contextmanager
def administration(sink: str | None) -> Iterator[Admin]:
    """A connection for one command; a failed call becomes one line on stderr and exit code 3. Raises WrongUsage."""
    target = resolve(sink, os.environ)
    with channel(target, [("grpc.max_receive_message_length", 16 * MIB)]) as opened:
        try:
            yield Admin(target, opened)
        except grpc.RpcError as error:
            typer.echo(f"error: {_explain(error, target)}", err=True)
            raise typer.Exit(EXIT_FAILED) from None


def _explain(error: grpc.RpcError, target: Target) -> str:
    failed = parse(error)
    if failed.code is grpc.StatusCode.UNAVAILABLE and failed.retry_after_seconds is None:
        return (
            f"no sink answers at {target.endpoint}: {clean(failed.message)}. Is it running? Name another with --sink; "
            "for the store of a stopped sink use `python -m sink retention|hold`."
        )
    if failed.code is grpc.StatusCode.UNAUTHENTICATED:
        return f"{failed.line}. Set SINK_ADMIN_TOKEN to the sink's."
    return failed.line
