"""gRPC errors as one clear line: code, message, violated fields, when to try again. The only place that decides exit codes.

Exit codes: 1 something was rejected, 2 wrong usage (typer's own), 3 the gateway refused or could not be reached.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import grpc
import typer
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from cli.client.target import Target
from cli.render.text import clean, duration
from contracts.errors import FieldViolation

EXIT_REJECTED = 1
EXIT_FAILED = 3

#: gRPC's long way of saying that nobody listens.
_NO_CONNECTION = re.compile(r"failed to connect to all addresses; last error: .*: ([^:]+)", re.DOTALL)
#: More violations than this are counted, not listed.
_SHOWN_VIOLATIONS = 5


@dataclass(frozen=True, slots=True)
class CallError:
    """What a failed call said."""

    code: grpc.StatusCode
    message: str
    violations: tuple[FieldViolation, ...] = ()
    #: Seconds after which the server wants the call repeated; None when it did not say.
    retry_after_seconds: float | None = None

    @property
    def line(self) -> str:
        parts = [f"{self.code.name}: {clean(self.message) or 'no message'}"]
        fresh = [str(v) for v in self.violations if str(v) not in self.message]
        if fresh:
            more = f"; and {len(fresh) - _SHOWN_VIOLATIONS} more" if len(fresh) > _SHOWN_VIOLATIONS else ""
            parts.append(f"({clean('; '.join(fresh[:_SHOWN_VIOLATIONS]))}{more})")
        if self.retry_after_seconds is not None:
            parts.append(f"(try again in {duration(self.retry_after_seconds * 1000)})")
        return " ".join(parts)


def parse(error: grpc.RpcError) -> CallError:
    """Read code, message and the well-known details of a failed call; unreadable details are left out."""
    call = cast(Any, error)  # every error of a call is also a grpc.Call; the stubs deny it
    code = call.code() if hasattr(error, "code") else grpc.StatusCode.UNKNOWN
    message = (call.details() or "") if hasattr(error, "details") else str(error)
    try:
        status = rpc_status.from_call(call) if hasattr(error, "trailing_metadata") else None
    except (ValueError, DecodeError):
        # Details that contradict the status or do not parse: the status itself still says what happened.
        status = None
    violations, retry_after = read_details(status)
    return CallError(code, _NO_CONNECTION.sub(r"cannot connect: \1", message), violations, retry_after)


def read_details(status: status_pb2.Status | None) -> tuple[tuple[FieldViolation, ...], float | None]:
    """The field violations and the retry delay (seconds) in a ``google.rpc.Status``."""
    violations: list[FieldViolation] = []
    retry_after: float | None = None
    for detail in status.details if status is not None else ():
        bad_request, retry_info = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        try:
            if detail.Unpack(bad_request):
                violations += [FieldViolation(v.field, v.description) for v in bad_request.field_violations]
            elif detail.Unpack(retry_info):
                retry_after = max(0.0, retry_info.retry_delay.ToTimedelta().total_seconds())
        except (DecodeError, ValueError, OverflowError):
            continue  # a damaged detail takes nothing from the others
    return tuple(violations), retry_after


def explain(error: CallError, target: Target) -> str:
    """The line for a person, with what to do where that is known."""
    if error.code is grpc.StatusCode.UNAVAILABLE and error.retry_after_seconds is None and not error.violations:
        return (
            f"no gateway answers at {target.endpoint}: {clean(error.message)}. "
            "Is it running? See `chaukas-gateway status`, or name another with --endpoint."
        )
    if error.code is grpc.StatusCode.UNAUTHENTICATED:
        return f"{error.line}. Give --api-key or set CHAUKAS_API_KEY."
    return error.line


@contextlib.contextmanager
def clear_errors(target: Target) -> Iterator[None]:
    """Turn a failed call into one line on stderr and exit code 3."""
    try:
        yield
    except grpc.RpcError as error:
        typer.echo(f"error: {explain(parse(error), target)}", err=True)
        raise typer.Exit(EXIT_FAILED) from None
