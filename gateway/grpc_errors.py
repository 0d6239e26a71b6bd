"""The only place of the gRPC door that knows status codes: from errors to ``google.rpc.Status``.

Trailers stay small: a client drops a call whose trailers are larger than it allows (8 KiB in most), and turns even an OK call
into an error then. Details are at most 4 KiB as they are sent (base64), the message 400 characters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2

from contracts.errors import (
    FieldViolation,
    GatewayError,
    InvalidInput,
    Overloaded,
    PermissionDenied,
    TooSlow,
    TransientError,
    Unauthenticated,
    Unavailable,
)
from gateway.ingest import BatchOutcome, path
from gateway.publisher import RESEND
from gateway.query_client import DETAILS_METADATA, SinkRefused

#: 4 KiB of base64.
MAX_DETAILS_BYTES = 3072
_MAX_MESSAGE_CHARS = 400
_MAX_FIELD_CHARS = 200
#: What the wrapping of a BadRequest in an Any in a Status takes at most, and a closing "and N more".
_WRAPPING_BYTES = 160

#: Codes that make a server's span an error, by OpenTelemetry's conventions.
OUR_FAULT = frozenset(("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"))

_CODES: dict[type[GatewayError], int] = {
    InvalidInput: code_pb2.INVALID_ARGUMENT,
    Unauthenticated: code_pb2.UNAUTHENTICATED,
    PermissionDenied: code_pb2.PERMISSION_DENIED,
    Overloaded: code_pb2.RESOURCE_EXHAUSTED,
    Unavailable: code_pb2.UNAVAILABLE,
    TooSlow: code_pb2.DEADLINE_EXCEEDED,
}


def status_of(error: GatewayError) -> status_pb2.Status:
    """The status to end a call with."""
    if isinstance(error, SinkRefused):
        return _sinks_status(error)
    status = status_pb2.Status(code=_CODES[type(error)], message=_cut(str(error), _MAX_MESSAGE_CHARS))
    if isinstance(error, InvalidInput):
        _pack(status, _bad_request(error.violations))
    elif isinstance(error, TransientError):
        _pack(status, _retry_info(error.retry_after_seconds))
    return status


def internal_error() -> status_pb2.Status:
    """For what should not happen. Records of the call may be on their way to Kafka, so it says that a re-send is safe."""
    status = status_pb2.Status(code=code_pb2.INTERNAL, message=f"internal error; {RESEND}")
    _pack(status, _retry_info(1.0))
    return status


def rejections_trailer(outcome: BatchOutcome) -> tuple[tuple[str, bytes], ...]:
    """Trailing metadata of an OK batch call that rejected events; none when it rejected none."""
    if not outcome.rejected_count:
        return ()
    violations = (
        FieldViolation(path(f"event_batch.events[{rejection.index}]", violation.field), violation.reason)
        for rejection in outcome.rejections
        for violation in rejection.violations
    )
    status = status_pb2.Status(code=code_pb2.OK)  # code and message as the call's own, or clients refuse to read it
    _pack(status, _bad_request(violations, outcome.rejected_count))
    return ((DETAILS_METADATA, status.SerializeToString()),)


def _sinks_status(error: SinkRefused) -> status_pb2.Status:
    code = error.code.value[0]
    message = str(error)
    if error.details is not None and len(error.details) <= MAX_DETAILS_BYTES:
        try:
            status = status_pb2.Status.FromString(error.details)
        except DecodeError:
            pass  # the plain status says enough
        else:
            if (status.code, status.message) == (code, message):
                return status
    return status_pb2.Status(code=code, message=_cut(message, _MAX_MESSAGE_CHARS))


def _bad_request(violations: Iterable[FieldViolation], events: int | None = None) -> error_details_pb2.BadRequest:
    """As many violations as fit, then one "and N more": of `events` when given, else of violations."""
    bad_request = error_details_pb2.BadRequest()
    room = MAX_DETAILS_BYTES - _WRAPPING_BYTES
    shown_events: set[str] = set()
    rest = list(violations)
    for position, violation in enumerate(rest):
        entry = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(violation.field, _MAX_FIELD_CHARS), description=_cut(violation.reason, _MAX_MESSAGE_CHARS)
        )
        room -= entry.ByteSize() + 3
        if room < 0:
            left = len(rest) - position if events is None else events - len(shown_events)
            what = "violations" if events is None else "rejected events"
            bad_request.field_violations.add(field="", description=f"and {left} more {what}")
            break
        bad_request.field_violations.append(entry)
        shown_events.add(violation.field.partition("]")[0])
    return bad_request


def _retry_info(seconds: float) -> error_details_pb2.RetryInfo:
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(math.ceil(seconds * 1000))
    return error_details_pb2.RetryInfo(retry_delay=delay)


def _pack(status: status_pb2.Status, detail: error_details_pb2.BadRequest | error_details_pb2.RetryInfo) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


def _cut(text: str, most: int) -> str:
    # Control characters have no business in a header, whatever a client's field name holds.
    return "".join(
        char if char.isprintable() else "?" for char in (text if len(text) <= most else text[: most - 1] + "…")
    )


def grpc_code(status: status_pb2.Status) -> grpc.StatusCode:
    return next(code for code in grpc.StatusCode if code.value[0] == status.code)
