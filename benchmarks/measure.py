"""Measuring two pieces of code against each other, fairly: interleaved rounds, CPU or wall time, medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True, slots=True)
class Result:
    """One measured ratio. `seconds` and `baseline_seconds`: of one round, CPU time or, where `what` says so, on the clock."""

    name: str
    what: str
    baseline: str
    seconds: float
    baseline_seconds: float
    #: 0: the figures are no times (bytes, in both).
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
    timed, timed_baseline = partial(_cpu, measured), partial(_cpu, baseline)
    return compare_timed(name, what, timed, baseline_name, timed_baseline, events=events, goal=goal, rounds=rounds)


def compare_timed(
    name: str,
    what: str,
    measured: Callable[[], float],
    baseline_name: str,
    baseline: Callable[[], float],
    *,
    events: int,
    goal: float | None = None,
    rounds: int = 7,
) -> Result:
    """:func:`compare` for functions that prepare something in between, and return the CPU seconds of the rest."""
    measured()
    baseline()
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(baseline())
        ours.append(measured())
    return Result(name, what, baseline_name, statistics.median(ours), statistics.median(theirs), events, goal)


def compare_wall(
    measured: Callable[[int], object], baseline: Callable[[int], object], *, rounds: int = 15, warm: int = 3
) -> tuple[float, float]:
    """Median seconds on the clock of both, run in turn after `warm` rounds each; called with the round's number. Blocks.

    For what runs in the engine's threads, which CPU time would count whether they waited or not.
    """
    for number in range(warm):
        measured(number)
        baseline(number)
    ours, theirs = [], []
    for number in range(warm, warm + rounds):
        theirs.append(_wall(baseline, number))
        ours.append(_wall(measured, number))
    return statistics.median(ours), statistics.median(theirs)


def cpu_seconds(measured: Callable[[int], object], *, rounds: int = 9) -> float:
    """Median CPU seconds of the process, the engine's threads included; what a machine with other users tells best. Blocks."""
    return statistics.median(_cpu(partial(measured, number)) for number in range(rounds))


def _wall(function: Callable[[int], object], number: int) -> float:
    start = time.perf_counter()
    function(number)
    return time.perf_counter() - start


def _cpu(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start
