"""Bounded bytes and calls in flight: what a process holds is limited, and what is beyond is refused with a hint.

A request's bytes count from before they are read (or, of unknown length, while they arrive) until Kafka reported on every
record made from them, even when the caller was answered before: the records are in memory until then.
"""

from __future__ import annotations

from typing import Self

from contracts.errors import Overloaded
from gateway.metrics import GatewayMetrics

RETRY_AFTER_SECONDS = 1.0
#: The part of the room from which on it fills: one in so many.
_FILLING = 8
NOTHING_ACCEPTED = "nothing of this call was accepted, sending it again later is safe"


class Admission:
    """The credit of one process. Used from the event loop's thread only."""

    def __init__(self, limit_bytes: int, metrics: GatewayMetrics, limit_calls: int = 1_000_000) -> None:
        self.limit_bytes = limit_bytes
        self.limit_calls = limit_calls
        self.used_bytes = 0
        #: Calls with a lease that is not given back.
        self.calls = 0
        self._metrics = metrics
        metrics.inflight_limit_bytes.set(limit_bytes)
        metrics.follow(metrics.inflight_bytes, lambda: self.used_bytes)
        metrics.follow(metrics.inflight_calls, lambda: self.calls)

    def lease(self, size: int = 0) -> Lease:
        """Room for one more call, and for `size` bytes. Raises :class:`Overloaded`."""
        if self.calls >= self.limit_calls:
            self._metrics.overloaded.inc()
            raise Overloaded(f"the gateway works on {self.calls} calls; {NOTHING_ACCEPTED}", RETRY_AFTER_SECONDS)
        if size:
            self.take(size)
        return Lease(self, size)

    @property
    def filling(self) -> bool:
        """More is held than an idle or healthy process holds."""
        return self.used_bytes * _FILLING >= self.limit_bytes

    def check(self) -> None:
        """Raises :class:`Overloaded` when not one byte is free: for what is refused before its size is known."""
        self.take(1)
        self.used_bytes -= 1

    def take(self, size: int) -> None:
        if self.used_bytes + size > self.limit_bytes:
            self._metrics.overloaded.inc()
            raise Overloaded(
                f"the gateway holds {self.used_bytes} of at most {self.limit_bytes} request bytes; {NOTHING_ACCEPTED}",
                RETRY_AFTER_SECONDS,
            )
        self.used_bytes += size


class Lease:
    """One request's share. Given back when its last holder is done; the creator is the first holder."""

    __slots__ = ("_admission", "_holders", "size")

    def __init__(self, admission: Admission, size: int) -> None:
        self._admission = admission
        self._holders = 1
        self.size = size
        admission.calls += 1

    def grow(self, size: int) -> None:
        """Room for more. Raises :class:`Overloaded`; what is held already stays held."""
        self._admission.take(size)
        self.size += size

    def hold(self) -> None:
        """One more holder; it calls :meth:`done` too."""
        self._holders += 1

    def done(self) -> None:
        """A holder needs the bytes no more."""
        self._holders -= 1
        if self._holders == 0:
            self._admission.used_bytes -= self.size
            self._admission.calls -= 1
            self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.done()
