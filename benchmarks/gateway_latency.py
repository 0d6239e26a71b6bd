"""How long a durable unary call takes at half load, against what Kafka takes to confirm a record of a bare producer."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.gateway_doors import WARM_SECONDS, bench
from benchmarks.load import processes
from benchmarks.load.bare_producer import Pace, measure
from benchmarks.load.plan import Plan
from benchmarks.measure import Result
from runtime.settings import GatewaySettings, load

NAME = "gateway-latency"
ROUNDS, SECONDS = 5, 4.0
#: Of the highest rate of durable calls in the same run.
LOAD = 0.5


def run() -> Iterator[Result]:
    linger_ms = load(GatewaySettings).linger_ms
    with bench() as running:
        gateway = running.gateway
        plan = Plan("grpc-unary", gateway.ports["grpc"], gateway.key, connections=8, in_flight=16, events_per_call=1)
        processes.call(replace(plan, seconds=WARM_SECONDS))
        fastest = processes.call(replace(plan, seed=2))
        rate = LOAD * fastest.accepted / fastest.seconds
        pace = Pace(running.kafka.bootstrap_servers, running.kafka.topics.raw, linger_ms, rate, SECONDS)
        measure(pace)
        ours, theirs = [], []
        for number in range(ROUNDS):
            theirs.append(measure(pace))
            ours.append(processes.call(replace(plan, rate=rate, seconds=SECONDS, seed=3 + number)).latency)

    def result(what: str, name: str, goal: float) -> Result:
        measured, base = (statistics.median(found[name] for found in all_) for all_ in (ours, theirs))
        return Result(
            NAME, f"{what} at {rate:.0f} calls/s", "delivery report of a bare producer", measured, base, 1, goal
        )

    yield result("a durable unary call, p50,", "p50", 1.3)
    yield result("a durable unary call, p99,", "p99", 2.0)
