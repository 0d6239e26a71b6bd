"""A thousand gRPC connections that only stay, while others send 10,000 events a second in small batches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.gateway_doors import WARM_SECONDS, bench
from benchmarks.load import processes
from benchmarks.load.idle import idle_connections
from benchmarks.load.plan import Plan
from benchmarks.load.processes import Target
from benchmarks.measure import Result

NAME = "gateway-idle"
CONNECTIONS = 1000
EVENTS_PER_SECOND, EVENTS_PER_CALL = 10_000, 10
ROUNDS, SECONDS, QUIET_SECONDS = 5, 4.0, 8.0


@dataclass(frozen=True)
class Load:
    """Of one round: CPU seconds of an event, and seconds until an answer."""

    cpu: float
    p50: float
    p99: float


def run() -> Iterator[Result]:
    with bench() as running:
        gateway = running.gateway
        plan = Plan(
            "grpc-batch",
            gateway.ports["grpc"],
            gateway.key,
            rate=EVENTS_PER_SECOND / EVENTS_PER_CALL,
            events_per_call=EVENTS_PER_CALL,
            connections=8,
            in_flight=64,
            seconds=SECONDS,
        )
        processes.call(replace(plan, rate=0.0, seconds=WARM_SECONDS))  # the broker's JVM above all
        quiet, memory = _idle(gateway), gateway.rss_bytes()
        with idle_connections(gateway.ports["grpc"], CONNECTIONS):
            held, crowded = gateway.rss_bytes() - memory, _idle(gateway)
        without, beside = [], []
        for number in range(ROUNDS):
            without.append(_load(gateway, replace(plan, seed=2 + number)))
            loaded = gateway.rss_bytes()
            with idle_connections(gateway.ports["grpc"], CONNECTIONS):
                beside.append(_load(gateway, replace(plan, seed=20 + number)))
                peak = gateway.rss_bytes()

    def result(what: str, baseline: str, measured: float, base: float, events: int = 0) -> Result:
        return Result(NAME, what, baseline, measured, base, events)

    many = f"beside {CONNECTIONS} idle connections"
    rate = f"{EVENTS_PER_SECOND} events/s in batches of {EVENTS_PER_CALL}"
    yield result(f"CPU of an idle gateway ({quiet:.2%} of a core)", "one core", quiet, 1)
    yield result(f"CPU with {CONNECTIONS} idle connections ({crowded:.2%} of a core)", "one core", crowded, 1)
    yield result(
        f"memory of {CONNECTIONS} idle connections ({held / CONNECTIONS / 1024:.0f} KiB each)",
        "an idle gateway's",
        held,
        memory,
    )
    yield result(f"memory at {rate}, {many}", "without them", peak, loaded)
    for name in ("cpu", "p50", "p99"):
        ours, base = (statistics.median(getattr(one, name) for one in all_) for all_ in (beside, without))
        what = {"cpu": "CPU of an event", "p50": "p50 of a call", "p99": "p99 of a call"}[name]
        yield result(f"{what} at {rate}, {many}", "without them", ours, base, 1)


def _idle(gateway: Target) -> float:
    """Cores it uses while nobody calls."""
    time.sleep(0.5)
    before, started = gateway.cpu_seconds(), time.monotonic()
    time.sleep(QUIET_SECONDS)
    return max(gateway.cpu_seconds() - before, 0.0) / (time.monotonic() - started)


def _load(gateway: Target, plan: Plan) -> Load:
    before = gateway.cpu_seconds()
    tally = processes.call(plan)
    used = gateway.cpu_seconds() - before
    if tally.refused:
        raise RuntimeError(f"a measured load is not refused: {tally}")
    return Load(used / (tally.accepted * plan.events_per_call), tally.latency["p50"], tally.latency["p99"])
