"""The two classes of error, and nothing else.

::

    GatewayError
    ├── PermanentError        the same input will fail again: reject it, dead-letter it; never retry
    │   ├── InvalidInput      the caller's input breaks a rule; names the fields
    │   ├── Unauthenticated   no or unknown credentials
    │   └── PermissionDenied  known caller, not allowed
    └── TransientError        the same input may succeed later: the caller retries after `retry_after_seconds`
        ├── Overloaded        this process has no room (bytes in flight, quota)
        ├── TooSlow           the caller did not send its request in time
        └── Unavailable       a dependency (Kafka, the sink, ClickHouse) does not answer

Errors are verbs for the caller. Each front door maps them to its own codes in one file (``gateway/grpc_errors.py``,
``gateway/http_errors.py``); no other code knows a gRPC or HTTP status.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One broken rule. `field` is a path in the spec's names (``event.tenant_id``; empty: the input as a whole),
    `reason` is for a person."""

    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


class GatewayError(Exception):
    """Base of everything below; never raised itself."""


class PermanentError(GatewayError):
    """Retrying the same input cannot help."""


class InvalidInput(PermanentError):
    """The input breaks one or more rules."""

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        super().__init__("; ".join(map(str, violations)))
        self.violations = tuple(violations)

    @classmethod
    def of(cls, field: str, reason: str) -> InvalidInput:
        return cls((FieldViolation(field, reason),))


class Unauthenticated(PermanentError):
    """No credentials, or credentials nobody knows."""


class PermissionDenied(PermanentError):
    """A known caller asked for what its key does not allow."""


class TransientError(GatewayError):
    """The same input may succeed later; re-sending is safe because event ids make it idempotent."""

    def __init__(self, message: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Overloaded(TransientError):
    """This process has no room for the request now."""


class TooSlow(TransientError):
    """The request did not arrive in the time it may take."""


class Unavailable(TransientError):
    """A dependency does not answer."""
