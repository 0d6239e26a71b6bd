"""Measuring two pieces of code against each other, fairly: interleaved rounds, CPU time, medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """One measured ratio. `seconds` and `baseline_seconds` are CPU-seconds of one round."""

    name: str
    what: str
    baseline: str
    seconds: float
    baseline_seconds: float
    events: int
    #: The ratio this should stay at or below; None: reported only.
    goal: float | None = None

    @property
    def ratio(self) -> float:
        return self.seconds / self.baseline_seconds


def compare(
    name: str,
    what: str,
    measured: Callable[[], object],
    baseline_name: str,
    baseline: Callable[[], object],
    *,
    events: int,
    goal: float | None = None,
    rounds: int = 7,
) -> Result:
    """Run both in turn after one round to warm up; medians of CPU time. Blocks."""
    measured()
    baseline()
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(_cpu(baseline))
        ours.append(_cpu(measured))
    return Result(name, what, baseline_name, statistics.median(ours), statistics.median(theirs), events, goal)


def _cpu(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start
