"""What a door knows about a call beside its body."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from contracts.identity import Identity
from gateway.admission import Lease
from gateway.quotas import UNLIMITED, Charge

if TYPE_CHECKING:
    from runtime.spans import CallSpan


class Call(NamedTuple):
    """A call to send events. A tuple, because it is made faster than a frozen dataclass."""

    identity: Identity
    door: str
    lease: Lease
    #: How long the answer may take from now, seconds.
    seconds: float
    traceparent: str | None = None
    charge: Charge = UNLIMITED
    #: None: not traced, and the records get the caller's `traceparent` as it is.
    span: CallSpan | None = None
