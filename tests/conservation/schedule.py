"""Seeded schedules: what is broken when, and for how long."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.conservation import faults
from tests.conservation.faults import Fault


@dataclass(frozen=True)
class Step:
    """Wait, then break something; `beside`: go on with the next step meanwhile."""

    wait_seconds: float
    fault: Fault
    seconds: float = 0.0
    beside: bool = False

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.fault.__name__}{lasting}{' (the next beside it)' if self.beside else ''}"


def kills(rng: random.Random, count: int) -> list[Step]:
    """kill -9 and SIGTERM of every process, Kafka now and then; as close together as restarts take, or closer."""
    choices = [faults.kill] * 6 + [faults.terminate] * 3 + [faults.kill_kafka]
    return [Step(rng.uniform(0.2, 3.0), rng.choice(choices)) for _ in range(count)]


def of(rng: random.Random, chosen: Sequence[tuple[Fault, float]]) -> list[Step]:
    """Each of `chosen` (with its duration) once, in random order, with kills between some of them and during others."""
    order = list(chosen)
    rng.shuffle(order)
    steps = []
    for fault, seconds in order:
        beside = seconds >= 3 and rng.random() < 0.5
        steps.append(Step(rng.uniform(0.5, 2.0), fault, seconds, beside))
        if beside or rng.random() < 0.3:
            steps.append(Step(rng.uniform(0.1, 1.5), faults.kill))
        if beside:
            steps.append(Step(seconds, faults.nothing))
    return steps
