"""The only place of the HTTP door that knows status codes: from errors to an answer.

Every error body is ``{"error": <for a person>, "code": <as gRPC names it>, "violations": [{"field", "reason"}]?}``.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

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
from gateway.admission import NOTHING_ACCEPTED
from gateway.publisher import RESEND
from gateway.query_client import SinkRefused

#: The words by which the SDK knows that it shall split its batch.
HIGH_MEMORY = "high memory usage"

Headers = tuple[tuple[bytes, bytes], ...]

_STATUS: dict[type[GatewayError], tuple[int, str]] = {
    InvalidInput: (400, "INVALID_ARGUMENT"),
    Unauthenticated: (401, "UNAUTHENTICATED"),
    PermissionDenied: (403, "PERMISSION_DENIED"),
    Overloaded: (429, "RESOURCE_EXHAUSTED"),
    Unavailable: (503, "UNAVAILABLE"),
    TooSlow: (408, "DEADLINE_EXCEEDED"),
}
_SINK_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Headers = field(default=())


class HttpRefusal(Exception):
    """A refusal that only HTTP has: a path, a method, a content type, a body that is too large or too slow."""

    def __init__(self, status: int, code: str, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers


def not_found() -> HttpRefusal:
    return HttpRefusal(404, "NOT_FOUND", "no such path; /openapi.json describes what there is")


def method_not_allowed(allowed: str) -> HttpRefusal:
    return HttpRefusal(405, "UNIMPLEMENTED", f"only {allowed} is allowed here", ((b"allow", allowed.encode()),))


def unsupported_media(message: str) -> HttpRefusal:
    return HttpRefusal(415, "INVALID_ARGUMENT", message)


def body_too_slow(seconds: float) -> HttpRefusal:
    message = f"the body did not arrive within {seconds:g} seconds; {NOTHING_ACCEPTED}"
    return HttpRefusal(408, "DEADLINE_EXCEEDED", message, ((b"connection", b"close"), (b"retry-after", b"1")))


def too_much_json(what: str) -> HttpRefusal:
    return HttpRefusal(413, "INVALID_ARGUMENT", what)


def too_much_protobuf(what: str) -> HttpRefusal:
    """503 rather than 413: only then does the SDK halve its batch and send again."""
    return HttpRefusal(
        503,
        "RESOURCE_EXHAUSTED",
        f"{HIGH_MEMORY}: {what}; nothing of it was accepted, send smaller batches",
        ((b"retry-after", b"1"),),
    )


def answer_of(error: GatewayError | HttpRefusal) -> Answer:
    """The answer to end a request with."""
    if isinstance(error, HttpRefusal):
        return _answer(error.status, error.code, str(error), headers=error.headers)
    if isinstance(error, SinkRefused):
        status, code = _SINK_STATUS.get(error.code, 502), error.code.name
        return _answer(status, code, str(error), _sinks_violations(error), _sinks_hint(error))
    status, code = _STATUS[type(error)]
    headers: Headers = ()
    if isinstance(error, TransientError):
        headers = ((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_seconds))),)
    elif isinstance(error, Unauthenticated):
        headers = ((b"www-authenticate", b"Bearer"),)
    violations = error.violations if isinstance(error, InvalidInput) else ()
    return _answer(status, code, str(error), violations, headers)


def internal_error() -> Answer:
    """For what should not happen. Records of the call may be on their way to Kafka, so it says that a re-send is safe."""
    return _answer(500, "INTERNAL", f"internal error; {RESEND}", headers=((b"retry-after", b"1"),))


#: Made once: json.dumps makes an encoder for each call that wants other separators than its own.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def to_json(document: Any) -> bytes:
    return _encode(document).encode("utf-8", "replace")


def _answer(
    status: int, code: str, message: str, violations: tuple[FieldViolation, ...] = (), headers: Headers = ()
) -> Answer:
    document: dict[str, Any] = {"error": message, "code": code}
    if violations:
        document["violations"] = [{"field": found.field, "reason": found.reason} for found in violations]
    return Answer(status, to_json(document), headers=headers)


def _sinks_violations(error: SinkRefused) -> tuple[FieldViolation, ...]:
    return tuple(
        FieldViolation(entry.field, entry.description)
        for bad_request in _sinks_details(error, error_details_pb2.BadRequest)
        for entry in bad_request.field_violations
    )


def _sinks_hint(error: SinkRefused) -> Headers:
    for retry in _sinks_details(error, error_details_pb2.RetryInfo):
        return ((b"retry-after", b"%d" % max(1, math.ceil(retry.retry_delay.ToMilliseconds() / 1000))),)
    return ()


def _sinks_details(error: SinkRefused, kind: type[Any]) -> list[Any]:
    found = []
    try:
        for detail in status_pb2.Status.FromString(error.details or b"").details:
            message = kind()
            if detail.Unpack(message):
                found.append(message)
    except DecodeError:
        return []  # the message says enough
    return found
