"""How long a durable unary call takes at half load, against what Kafka takes to confirm a record of a bare producer.

And what gRPC and Kafka's client library take for one when nothing is looked at: between the two lies what nobody can save.
"""

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
    with bench() as running, processes.bare_gateway(running.kafka) as bare:
        gateway = running.gateway
        plan = Plan("grpc-unary", gateway.ports["grpc"], gateway.key, connections=8, in_flight=16, events_per_call=1)
        processes.call(replace(plan, seconds=WARM_SECONDS))
        fastest = processes.call(replace(plan, seed=2))
        rate = LOAD * fastest.accepted / fastest.seconds
        pace = Pace(running.kafka.bootstrap_servers, running.kafka.topics.raw, linger_ms, rate, SECONDS)
        measure(pace)
        paced = replace(plan, rate=rate, seconds=SECONDS)
        barely = replace(paced, port=bare.ports["grpc"])
        processes.call(replace(barely, seed=2))
        ours, alone, theirs = [], [], []
        for number in range(ROUNDS):
            theirs.append(measure(pace))
            alone.append(processes.call(replace(barely, seed=3 + number)).latency)
            ours.append(processes.call(replace(paced, seed=3 + number)).latency)

    for name, goal in (("p50", 1.3), ("p99", 2.0)):
        call, libraries, report = (statistics.median(one[name] for one in all_) for all_ in (ours, alone, theirs))
        what, producer = f"a durable unary call, {name}, at {rate:.0f} calls/s", "delivery report of a bare producer"
        yield Result(NAME, what, producer, call, report, 1, goal)
        yield Result(NAME, f"the same, grpc.aio and confluent-kafka alone, {name}", producer, libraries, report, 1)
