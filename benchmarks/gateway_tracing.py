"""CPU of the gateway for each call where one in a hundred, or every one, is traced, against the same gateway without tracing."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.brokers import running_broker
from benchmarks.gateway_doors import PARTITIONS, WARM_SECONDS, cost_of
from benchmarks.load import SDK_BATCH, processes
from benchmarks.load.plan import Plan
from benchmarks.measure import Result
from tests.support.otlp import Collector

NAME = "gateway-tracing"
ROUNDS, SECONDS = 5, 3.0
#: What is traced: of every call, and of none.
_RATIOS = {"1 % of calls traced": "0.01", "every call traced": "1"}
_OFF = "tracing off"
_PLANS = {
    "durable unary gRPC calls": Plan("grpc-unary", 0, "", connections=8, in_flight=16, events_per_call=1),
    f"events of gRPC batches of {SDK_BATCH}": Plan(
        "grpc-batch", 0, "", connections=4, in_flight=8, events_per_call=SDK_BATCH
    ),
}


def run() -> Iterator[Result]:
    collector = Collector()
    with running_broker() as (broker, directory), ExitStack() as running:
        running.callback(collector.close)
        kafka = broker.create_topics("bench.", partitions=PARTITIONS)
        gateways = {}
        for number, (name, ratio) in enumerate({_OFF: "", **_RATIOS}.items()):
            own = directory / f"gateway-{number}"
            own.mkdir()
            on = {"TRACING_OTLP_ENDPOINT": collector.endpoint, "TRACING_SAMPLE_RATIO": ratio} if ratio else {}
            gateways[name] = running.enter_context(processes.gateway(kafka, own, environment=on))
        for what, plan in _PLANS.items():
            for gateway in gateways.values():
                cost_of(gateway, replace(plan, seconds=WARM_SECONDS, seed=1))
            costs: dict[str, list[float]] = {name: [] for name in gateways}
            for number in range(ROUNDS):
                for name, gateway in gateways.items():
                    costs[name].append(cost_of(gateway, replace(plan, seconds=SECONDS, seed=2 + number)).all)
            base = statistics.median(costs[_OFF])
            for name in _RATIOS:
                yield Result(NAME, f"{what}, {name}", _OFF, statistics.median(costs[name]), base, 1)
