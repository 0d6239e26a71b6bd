"""CPU of the gateway for each event that it acknowledged, against servers that do nothing with the same bytes.

One run: a real broker, the gateway, the servers of :mod:`benchmarks.load.nothing` and the callers, each a process of its own.
Rounds in turn; the medians of CPU (user and system of the whole process, librdkafka's and grpc's threads included) are divided.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from benchmarks.brokers import running_broker
from benchmarks.load import SDK_BATCH, processes
from benchmarks.load.plan import Plan
from benchmarks.load.processes import LIBRDKAFKA, Target
from benchmarks.measure import Result
from runtime.settings import KafkaSettings
from tests.support.broker import Broker

ROUNDS = 5
SECONDS, NOTHING_SECONDS, WARM_SECONDS = 3.0, 2.0, 6.0
PARTITIONS = 8


@dataclass(frozen=True)
class Bench:
    """One broker, one gateway, and the servers that do nothing."""

    broker: Broker
    kafka: KafkaSettings
    gateway: Target
    nothing: Target


@dataclass(frozen=True)
class Cost:
    """Of one event, CPU seconds."""

    all: float
    librdkafka: float
    caller: float


@contextmanager
def bench() -> Iterator[Bench]:
    with running_broker() as (broker, directory):
        kafka = broker.create_topics("bench.", partitions=PARTITIONS)
        with processes.nothing() as nothing, processes.gateway(kafka, directory) as gateway:
            yield Bench(broker, kafka, gateway, nothing)


def run_batch() -> Iterator[Result]:
    plan = Plan("grpc-batch", 0, "", connections=4, in_flight=8)
    with bench() as running, processes.bare_gateway(running.kafka) as bare:
        yield from _compare("gateway-batch", running, bare, plan, "events of durable gRPC batches of 100", 3.1)


def run_unary() -> Iterator[Result]:
    plan = Plan("grpc-unary", 0, "", connections=8, in_flight=16, events_per_call=1)
    with bench() as running, processes.bare_gateway(running.kafka) as bare:
        yield from _compare("gateway-unary", running, bare, plan, "durable unary gRPC calls", 1.3)


def run_http() -> Iterator[Result]:
    batch = Plan("http-batch", 0, "", connections=32, events_per_call=SDK_BATCH)
    single = Plan("http-single", 0, "", connections=32, events_per_call=1)
    with bench() as running, processes.bare_gateway(running.kafka) as bare:
        yield from _compare("gateway-http", running, bare, batch, f"events of the SDK's batches of {SDK_BATCH}", 2.0)
        yield from _compare("gateway-http", running, bare, single, "single durable events", 2.0)


def _compare(name: str, running: Bench, bare: Target, plan: Plan, what: str, goal: float) -> Iterator[Result]:
    cost_of(running.gateway, replace(plan, seconds=WARM_SECONDS, seed=1))
    cost_of(bare, replace(plan, seconds=WARM_SECONDS, seed=1))
    cost_of(running.nothing, replace(plan, seconds=1.0))
    ours, theirs, alone = [], [], []
    for number in range(ROUNDS):
        alone.append(cost_of(bare, replace(plan, seconds=NOTHING_SECONDS, seed=2 + number)))
        theirs.append(cost_of(running.nothing, replace(plan, seconds=NOTHING_SECONDS)))
        ours.append(cost_of(running.gateway, replace(plan, seconds=SECONDS, seed=2 + number)))
    grpc = plan.kind.startswith("grpc")
    server = "grpc.aio server that does nothing" if grpc else "HTTP handler that does nothing"
    libraries = f"{'grpc.aio' if grpc else 'the HTTP server'} and confluent-kafka alone"

    def result(what: str, baseline: str, measured: float, base: float, goal: float | None = None) -> Result:
        return Result(name, what, baseline, measured, base, 1, goal)

    cost = statistics.median(cost.all for cost in ours)
    floor = statistics.median(cost.all for cost in theirs)
    yield result(what, server, cost, floor, goal)
    least = statistics.median(cost.all for cost in alone)
    yield result(f"{libraries}, the same records", server, least, floor)
    yield result(what, libraries, cost, least)
    yield result("of these, librdkafka's threads", what, statistics.median(cost.librdkafka for cost in ours), cost)
    yield result("the callers (not counted above)", what, statistics.median(cost.caller for cost in ours), cost)


def cost_of(target: Target, plan: Plan) -> Cost:
    """Of one event that was acknowledged. Raises when a call was not."""
    plan = replace(plan, port=target.ports[plan.kind[:4]], key=target.key)
    before, threads = target.cpu_seconds(), processes.threads_cpu(target.pid)
    tally = processes.call(plan)
    after = target.cpu_seconds()
    librdkafka = processes.threads_cpu(target.pid).get(LIBRDKAFKA, 0.0) - threads.get(LIBRDKAFKA, 0.0)
    if tally.refused or not tally.accepted:
        raise RuntimeError(f"a measured load is not refused: {tally}")
    events = tally.accepted * plan.events_per_call
    return Cost((after - before) / events, librdkafka / events, tally.cpu_seconds / events)
