"""What a key and a tenant may send: events and bytes a second, with a burst. Beyond, a call is refused with the exact wait.

Bytes are charged before anything is parsed, events when the request is sliced; a call that is refused for its events gets its
bytes back. A key and its tenant are charged together or not at all. Quotas are of the deployment; each process grants its part
(``GATEWAY_QUOTA_PROCESSES``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from contracts.errors import Overloaded
from contracts.identity import NO_LIMITS, Identity, RateLimits
from gateway.admission import NOTHING_ACCEPTED
from gateway.metrics import GatewayMetrics
from runtime.rate_limit import RateLimit, RateTable
from runtime.settings import GatewaySettings

#: Most keys, and most tenants, whose use is remembered; those that owe nothing are forgotten first.
_REMEMBERED = 10_000
_KINDS = ("events", "bytes")
#: Whose (a key's or a tenant's), which kind, and its name.
_Name = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QuotaRules:
    """What holds for keys and tenants that nobody said anything else about; None: no limit."""

    key: RateLimits = NO_LIMITS
    tenant: RateLimits = NO_LIMITS
    #: What may come at once, in seconds of the rate.
    burst_seconds: float = 10.0
    #: Gateways that share what is granted.
    processes: int = 1

    @classmethod
    def of(cls, settings: GatewaySettings) -> QuotaRules:
        return cls(
            RateLimits(settings.key_events_per_second or None, settings.key_bytes_per_second or None),
            RateLimits(settings.tenant_events_per_second or None, settings.tenant_bytes_per_second or None),
            settings.quota_burst_seconds,
            settings.quota_processes,
        )


class _Limit:
    """One rate of one key or tenant."""

    __slots__ = ("rate", "refused", "whose")

    def __init__(self, rate: RateLimit, whose: str, refused: Callable[[], None]) -> None:
        self.rate = rate
        self.whose = whose
        self.refused = refused


class Quota:
    """What one caller may send. Used from the event loop's thread only."""

    __slots__ = ("_bytes", "_events", "_monotonic", "identity")

    def __init__(
        self,
        identity: Identity | None,
        events: tuple[_Limit, ...],
        size: tuple[_Limit, ...],
        monotonic: Callable[[], float],
    ) -> None:
        self.identity = identity
        self._events = events
        self._bytes = size
        self._monotonic = monotonic

    @property
    def unlimited(self) -> bool:
        return not self._events and not self._bytes

    def take_events(self, count: int) -> None:
        """Raises :class:`Overloaded`; nothing is taken then."""
        if self._events:
            _take(self._events, count, self._monotonic(), "events")

    def take_bytes(self, size: int) -> None:
        """Raises :class:`Overloaded`; nothing is taken then."""
        if self._bytes:
            _take(self._bytes, size, self._monotonic(), "bytes")

    def check_bytes(self) -> None:
        """Raises :class:`Overloaded` when not one byte may come: for what is of unknown size."""
        if self._bytes:
            _refuse_beyond(self._bytes, 1, self._monotonic(), "bytes")

    def give_back(self, size: int) -> None:
        for limit in self._bytes:
            limit.rate.give_back(size)


class Charge:
    """What one call was charged for."""

    __slots__ = ("_bytes", "_quota")

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._bytes = 0

    def expect(self) -> None:
        """A request of unknown size is about to be read. Raises :class:`Overloaded`."""
        self._quota.check_bytes()

    def size(self, size: int) -> None:
        """The request has `size` bytes. Raises :class:`Overloaded`."""
        self._quota.take_bytes(size)
        self._bytes += size

    def events(self, count: int) -> None:
        """It holds `count` events. Raises :class:`Overloaded`; then its bytes are not charged either."""
        try:
            self._quota.take_events(count)
        except Overloaded:
            self._quota.give_back(self._bytes)
            self._bytes = 0
            raise


class Quotas:
    """The quotas of one process. Used from the event loop's thread only."""

    def __init__(
        self, rules: QuotaRules, metrics: GatewayMetrics, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._rules = rules
        self._metrics = metrics
        self._monotonic = monotonic
        self._callers: dict[tuple[str, str], Quota] = {}
        self._rates = RateTable(2 * len(_KINDS) * _REMEMBERED)

    def charge(self, identity: Identity) -> Charge:
        """For one call of this caller."""
        quota = self._callers.get((identity.tenant_id, identity.key_id))
        if quota is None or quota.identity is not identity:
            quota = self._quota(identity)
        return UNLIMITED if quota.unlimited else Charge(quota)

    def _quota(self, identity: Identity) -> Quota:
        """Made anew when a key's entry was read again; what it owes stays."""
        tenant, key = identity.tenant_id, identity.key_id
        own, rules = identity.limits, self._rules
        rates: dict[_Name, float | None] = {}
        for kind in _KINDS:
            rates["key", kind, tenant, key] = own.rate(kind) if own.rate(kind) is not None else rules.key.rate(kind)
            rates["tenant", kind, tenant] = rules.tenant.rate(kind)
        limited = {name: rate for name, rate in rates.items() if rate is not None}
        if self._rates.make_room(limited, self._monotonic()):
            self._callers.clear()
        limits = {
            kind: tuple(self._limit(name, rate) for name, rate in limited.items() if name[1] == kind) for kind in _KINDS
        }
        quota = Quota(identity, limits["events"], limits["bytes"], self._monotonic)
        if len(self._callers) >= _REMEMBERED:
            self._callers.clear()  # made again from the rates, which remember what is owed
        self._callers[tenant, key] = quota
        return quota

    def _limit(self, name: _Name, rate: float) -> _Limit:
        whose, kind = name[:2]
        granted = rate / self._rules.processes
        burst = max(1.0, granted * self._rules.burst_seconds)
        found = self._rates.limit(name, granted, burst)
        return _Limit(found, "the API key's" if whose == "key" else "the tenant's", self._counter(f"{whose}_{kind}"))

    def _counter(self, quota: str) -> Callable[[], None]:
        counter = self._metrics.quota_refused.labels(quota)
        return lambda: counter.inc()


def _take(limits: tuple[_Limit, ...], amount: int, now: float, what: str) -> None:
    _refuse_beyond(limits, amount, now, what)
    for limit in limits:
        limit.rate.take(amount, now)


def _refuse_beyond(limits: tuple[_Limit, ...], amount: int, now: float, what: str) -> None:
    longest, seconds = None, 0.0
    for limit in limits:
        wait = limit.rate.wait(amount, now)
        if wait > seconds:
            longest, seconds = limit, wait
    if longest is not None:
        longest.refused()
        raise Overloaded(
            f"{longest.whose} quota of {longest.rate.rate:g} {what} per second is used up; {NOTHING_ACCEPTED}", seconds
        )


#: For callers without any limit.
UNLIMITED = Charge(Quota(None, (), (), time.monotonic))
