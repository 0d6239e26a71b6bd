"""A rate with a burst, for whoever must not wait but be told how long to (the generic cell rate algorithm; docs/adr/0031)."""

from __future__ import annotations

from collections.abc import Collection, Hashable

#: Less is rounding: who waited as told must not be refused.
_EXACT_SECONDS = 1e-6


class RateLimit:
    """Lets `rate` a second pass, and `burst` at once when nothing passed for a while. Times are monotonic seconds.

    What is larger than the burst passes when all of it is there, and is waited for by what comes after: a large request is
    never impossible, and never free.
    """

    __slots__ = ("_full_at", "burst", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        """Both above 0."""
        self.rate = rate
        self.burst = burst
        self._full_at = 0.0

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` passes if nothing else does meanwhile; 0: it passes now."""
        debt = self._full_at - now
        if debt <= 0.0:
            return 0.0
        seconds = debt - (self.burst - min(amount, self.burst)) / self.rate
        return seconds if seconds > _EXACT_SECONDS else 0.0

    def take(self, amount: float, now: float) -> None:
        """`amount` passes, whatever :meth:`wait` says."""
        self._full_at = max(self._full_at, now) + amount / self.rate

    def give_back(self, amount: float) -> None:
        """It did not pass after all."""
        self._full_at -= amount / self.rate

    def is_full(self, now: float) -> bool:
        """Nothing is owed: forgetting the limit and making it anew changes nothing."""
        return self._full_at <= now


class RateTable:
    """Limits by name, made when first asked for; `most` of them are remembered."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limits: dict[Hashable, RateLimit] = {}

    def __len__(self) -> int:
        return len(self._limits)

    def make_room(self, names: Collection[Hashable], now: float) -> bool:
        """Before `names` are asked for. Whether others were forgotten, of which nobody may go on using one: when there are too many,
        those that owe nothing (made anew they are the same), then the oldest."""
        most = self._most - sum(name not in self._limits for name in names)
        if len(self._limits) <= most:
            return False
        self._limits = {name: each for name, each in self._limits.items() if name in names or not each.is_full(now)}
        for name in [name for name in self._limits if name not in names][: max(len(self._limits) - most, 0)]:
            del self._limits[name]
        return True

    def limit(self, name: Hashable, rate: float, burst: float) -> RateLimit:
        """Of another rate or burst than before it begins full."""
        found = self._limits.get(name)
        if found is None or (found.rate, found.burst) != (rate, burst):
            found = self._limits[name] = RateLimit(rate, burst)
        return found
