"""A rate with a burst, for whoever must not wait but be told how long to (the generic cell rate algorithm; docs/adr/0031)."""

from __future__ import annotations

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
