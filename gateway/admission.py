"""Bounded bytes and calls in flight: what a process holds is limited, and what is beyond is refused with a hint.

Room is shared by tenants: while others are active too, a tenant may hold at most :data:`_SHARE` times what is free, so there is
always room for one that comes (dynamic thresholds, docs/adr/0031). A tenant alone may hold all of it.

A request's bytes count from before they are read (or, of unknown length, while they arrive) until Kafka reported on every
record made from them, even when the caller was answered before: the records are in memory until then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

from contracts.errors import Overloaded
from gateway.metrics import GatewayMetrics

RETRY_AFTER_SECONDS = 1.0
#: A tenant may hold this many times what is free, while others are active: 8/9 of the room, two of them 8/17 each, and so on.
_SHARE = 8
#: A tenant is active while it holds something, and for this long after its last call, seconds.
_ACTIVE_SECONDS = 300.0
#: The part of the room from which on it fills: one in so many.
_FILLING = 8
NOTHING_ACCEPTED = "nothing of this call was accepted, sending it again later is safe"


class Admission:
    """The credit of one process. Used from the event loop's thread only."""

    def __init__(
        self,
        limit_bytes: int,
        metrics: GatewayMetrics,
        limit_calls: int = 1_000_000,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit_bytes = limit_bytes
        self.limit_calls = limit_calls
        self.used_bytes = 0
        #: Calls with a lease that is not given back.
        self.calls = 0
        self._metrics = metrics
        self._monotonic = monotonic
        #: The active ones.
        self._tenants: dict[str, _Holding] = {}
        self._looked_at = 0.0
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

    def take_for(self, holding: _Holding, size: int) -> None:
        """As :meth:`take`, within the tenant's share. Raises :class:`Overloaded`."""
        if len(self._tenants) > 1 and holding.bytes + size > _SHARE * (self.limit_bytes - self.used_bytes - size):
            raise self._beyond_share(f"{holding.bytes} request bytes")
        self.take(size)
        holding.bytes += size

    def holding(self, tenant: str) -> _Holding:
        """What `tenant` holds; it is active from now on. Raises :class:`Overloaded` when one more call is beyond its share."""
        now = self._monotonic()
        if now - self._looked_at >= 1.0:
            self._looked_at = now
            for name in [name for name, each in self._tenants.items() if each.is_gone(now)]:
                del self._tenants[name]
        found = self._tenants.get(tenant)
        if found is None:
            found = self._tenants[tenant] = _Holding()
        found.seen = now
        if len(self._tenants) > 1 and found.calls >= _SHARE * max(self.limit_calls - self.calls, 1):
            raise self._beyond_share(f"{found.calls} calls")
        return found

    def holds_little(self, holding: _Holding) -> bool:
        """Others are active, and it is not this tenant that fills the room."""
        return len(self._tenants) > 1 and holding.bytes * _FILLING * len(self._tenants) < self.limit_bytes

    def _beyond_share(self, what: str) -> Overloaded:
        self._metrics.overloaded.inc()
        return Overloaded(
            f"the gateway works on {what} of this tenant, its share while others send too; {NOTHING_ACCEPTED}",
            RETRY_AFTER_SECONDS,
        )


class _Holding:
    """What one tenant holds."""

    __slots__ = ("bytes", "calls", "seen")

    def __init__(self) -> None:
        self.bytes = 0
        self.calls = 0
        #: Its last call, monotonic seconds.
        self.seen = 0.0

    def is_gone(self, now: float) -> bool:
        return not self.calls and now - self.seen > _ACTIVE_SECONDS


class Lease:
    """One request's share. Given back when its last holder is done; the creator is the first holder."""

    __slots__ = ("_admission", "_holders", "_holding", "size")

    def __init__(self, admission: Admission, size: int) -> None:
        self._admission = admission
        self._holders = 1
        self._holding: _Holding | None = None
        self.size = size
        admission.calls += 1

    def assign(self, tenant: str) -> None:
        """It is this tenant's, now that the caller is known. Raises :class:`Overloaded` when it is beyond the tenant's share."""
        holding = self._admission.holding(tenant)
        holding.calls += 1
        holding.bytes += self.size
        self._holding = holding

    @property
    def holds_little(self) -> bool:
        """Whether it is of a tenant that holds little while others are active."""
        return self._holding is not None and self._admission.holds_little(self._holding)

    def grow(self, size: int) -> None:
        """Room for more. Raises :class:`Overloaded`; what is held already stays held."""
        if self._holding is None:
            self._admission.take(size)
        else:
            self._admission.take_for(self._holding, size)
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
            if self._holding is not None:
                self._holding.bytes -= self.size
                self._holding.calls -= 1
            self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.done()
