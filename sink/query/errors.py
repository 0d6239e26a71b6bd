"""What can go wrong with a query, and what gRPC says of it. The only file here that knows a status code.

::

    InvalidInput        INVALID_ARGUMENT     google.rpc.BadRequest names the fields
    Unauthenticated     UNAUTHENTICATED
    PermissionDenied    PERMISSION_DENIED
    QueryTooCostly      RESOURCE_EXHAUSTED   narrow the query; retrying it unchanged cannot help
    QueryTimedOut       DEADLINE_EXCEEDED
    Overloaded          RESOURCE_EXHAUSTED   google.rpc.RetryInfo: the tenant's queries are too many, or take too long
    Unavailable         UNAVAILABLE          google.rpc.RetryInfo
    anything else       INTERNAL             a bug: logged, and nothing of it told to the client
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from contracts.errors import (
    GatewayError,
    InvalidInput,
    Overloaded,
    PermanentError,
    PermissionDenied,
    TransientError,
    Unauthenticated,
    Unavailable,
)
from sink.store_errors import TIMEOUT_CODES, StoreUnavailable, code_of

_DETAILS_METADATA = "grpc-status-details-bin"

#: Codes of ClickHouse (src/Common/ErrorCodes.cpp) for a query that would read or hold more than it may.
COST_CODES = frozenset(
    {
        158,  # TOO_MANY_ROWS
        173,  # CANNOT_ALLOCATE_MEMORY
        191,  # SET_SIZE_LIMIT_EXCEEDED
        241,  # MEMORY_LIMIT_EXCEEDED
        307,  # TOO_MANY_BYTES
        396,  # TOO_MANY_ROWS_OR_BYTES
    }
)
#: Codes that blame the statement: no retry helps, it is a bug here.
STATEMENT_CODES = frozenset(
    {
        42,  # NUMBER_OF_ARGUMENTS_DOESNT_MATCH
        43,  # ILLEGAL_TYPE_OF_ARGUMENT
        46,  # UNKNOWN_FUNCTION
        47,  # UNKNOWN_IDENTIFIER
        53,  # TYPE_MISMATCH
        62,  # SYNTAX_ERROR
        184,  # ILLEGAL_AGGREGATION
        215,  # NOT_AN_AGGREGATE
        386,  # NO_COMMON_TYPE
        457,  # BAD_QUERY_PARAMETER
    }
)


class QueryTooCostly(PermanentError):
    """The query would read, hold or answer more than one query may."""


class QueryTimedOut(TransientError):
    """The query did not end within its deadline."""


class BrokenStatement(PermanentError):
    """The engine does not understand what this package asked."""


def of_store(error: Exception) -> GatewayError:
    """An error of the driver, told without its text (which may quote values)."""
    code = code_of(error)
    if code in STATEMENT_CODES:
        return BrokenStatement("internal error")
    if code in COST_CODES:
        return QueryTooCostly("the query reads more than one query may; narrow its time range or filter")
    if code in TIMEOUT_CODES:
        return QueryTimedOut("the query did not end in time; narrow its time range or filter")
    return StoreUnavailable("the store does not answer")


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a failed call ends."""

    code: grpc.StatusCode
    message: str
    details: tuple[Message, ...] = ()

    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        """Trailing metadata with the details as ``google.rpc.Status``; empty without details."""
        if not self.details:
            return ()
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self.details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        return ((_DETAILS_METADATA, status.SerializeToString()),)


def refusal_of(error: Exception) -> Refusal:
    """The gRPC answer for `error`."""
    message = str(error)
    match error:
        case InvalidInput():
            bad = error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=violation.field, description=violation.reason)
                    for violation in error.violations
                ]
            )
            return Refusal(grpc.StatusCode.INVALID_ARGUMENT, message, (bad,))
        case Unauthenticated():
            return Refusal(grpc.StatusCode.UNAUTHENTICATED, message)
        case PermissionDenied():
            return Refusal(grpc.StatusCode.PERMISSION_DENIED, message)
        case QueryTooCostly():
            return Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, message)
        case QueryTimedOut():
            return Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, message)
        case Overloaded():
            return Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, message, (_retry(error),))
        case Unavailable():
            return Refusal(grpc.StatusCode.UNAVAILABLE, message, (_retry(error),))
        case _:
            return Refusal(grpc.StatusCode.INTERNAL, "internal error")


def _retry(error: TransientError) -> Message:
    delay = Duration()
    delay.FromMilliseconds(math.ceil(error.retry_after_seconds * 1000))
    info: Message = error_details_pb2.RetryInfo(retry_delay=delay)
    return info
