"""Throughput against latency, up to saturation and past it: what a caller waits, and what is refused, at each offered load.

Calls are sent when they are due, whatever came back (an open loop), at steps of what the gateway takes at most in the same run. Past
that its bounds close the curve: here 16 MiB and 1,000 calls in flight, so that a step of seconds reaches them. The curve is kept as
JSON and, where matplotlib is installed, as a picture (:mod:`benchmarks.plot`).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from rich.console import Console
from rich.table import Table

from benchmarks import machine, plot, report
from benchmarks.brokers import running_broker
from benchmarks.gateway_doors import PARTITIONS
from benchmarks.load import processes
from benchmarks.load.plan import Plan
from benchmarks.load.processes import Target
from benchmarks.measure import Result

NAME = "gateway-saturation"
MIB = 1024 * 1024
#: Of the highest rate of the same run.
STEPS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.6)
SECONDS, WARM_SECONDS, ROUNDS = 2.5, 6.0, 3
HALF = 0.55
BOUNDS = {"GATEWAY_INFLIGHT_MAX_BYTES": str(16 * MIB), "GATEWAY_INFLIGHT_MAX_CALLS": "1000"}
#: The loads, by what the picture calls them.
KINDS = {
    "gRPC, batches of 100": Plan("grpc-batch", 0, ""),
    "gRPC, single events": Plan("grpc-unary", 0, "", connections=8, in_flight=16, events_per_call=1),
    "HTTP, the SDK's batches of 20": Plan("http-batch", 0, "", connections=32, events_per_call=20),
}
#: Room for calls that wait, so that it is the gateway that refuses: gRPC calls of a connection, HTTP connections.
WAITING, WAITING_HTTP = 300, 1500


@dataclass(frozen=True)
class Step:
    """One offered load. Events a second; seconds."""

    offered: float
    accepted: float
    p50: float
    p99: float
    #: Of the calls that were answered.
    refused: float
    #: Calls that the callers themselves could not send.
    held_back: int


def run() -> Iterator[Result]:
    with running_broker() as (broker, directory):
        kafka = broker.create_topics("bench.", partitions=PARTITIONS)
        with processes.gateway(kafka, directory, environment=BOUNDS) as gateway:
            curves, again = {}, {}
            for name, plan in KINDS.items():
                curves[name] = _curve(gateway, plan)
                again[name] = _most(gateway, plan, seed=50)
    _keep(curves)
    for name, (most, steps) in curves.items():
        half = min(steps, key=lambda step: abs(step.offered - HALF * most))
        last = steps[-1]
        what = f"{name}: the most again, after the curve (far from 1: the machine changed, and the curve says little)"
        yield Result(NAME, what, "the most", again[name], most, 0)
        yield Result(NAME, f"{name}: accepted at {STEPS[-1]} of the most (goodput)", "the most", last.accepted, most, 0)
        yield Result(
            NAME, f"{name}: p99 there, of what is accepted", f"p99 at {HALF} of the most", last.p99, half.p99, 0
        )
        yield Result(NAME, f"{name}: p99 at {HALF} of the most", "p50 there", half.p99, half.p50, 0)


def _curve(gateway: Target, plan: Plan) -> tuple[float, list[Step]]:
    """The highest rate of events, and the steps."""
    plan = replace(plan, port=gateway.ports[plan.kind[:4]], key=gateway.key, seconds=SECONDS)
    processes.call(replace(plan, seconds=WARM_SECONDS))
    most = _most(gateway, plan, seed=2)
    rate = most / plan.events_per_call
    room = replace(plan, connections=WAITING_HTTP) if plan.kind.startswith("http") else replace(plan, in_flight=WAITING)
    return most, [_step(replace(room, rate=share * rate, seed=10 + number)) for number, share in enumerate(STEPS)]


def _most(gateway: Target, plan: Plan, seed: int) -> float:
    """Events a second, as fast as they are answered; the median of some rounds."""
    plan = replace(plan, port=gateway.ports[plan.kind[:4]], key=gateway.key, seconds=SECONDS)
    closed = [processes.call(replace(plan, seed=seed + number)) for number in range(ROUNDS)]
    return statistics.median(tally.accepted / tally.seconds for tally in closed) * plan.events_per_call


def _step(plan: Plan) -> Step:
    tally = processes.call(plan)
    events = plan.events_per_call
    return Step(
        plan.rate * events,
        tally.accepted * events / tally.seconds,
        tally.latency["p50"],
        tally.latency["p99"],
        sum(tally.refused.values()) / tally.calls,
        tally.held_back,
    )


def _keep(curves: dict[str, tuple[float, list[Step]]]) -> None:
    for name, (most, steps) in curves.items():
        table = Table(title=f"{name}: at most {most:,.0f} events/s")
        for column in ("offered / most", "accepted / most", "p50 ms", "p99 ms", "refused", "held back by the callers"):
            table.add_column(column, justify="right")
        for step in steps:
            shares = (step.offered / most, step.accepted / most)
            times = (step.p50 * 1000, step.p99 * 1000)
            table.add_row(
                *(f"{share:.2f}" for share in shares),
                *(f"{value:.1f}" for value in times),
                f"{step.refused:.2f}",
                str(step.held_back),
            )
        Console().print(table)
    document = {
        **machine.describe(),
        "curves": {
            name: {"most": most, "steps": [asdict(step) for step in steps]} for name, (most, steps) in curves.items()
        },
    }
    report.DIRECTORY.mkdir(exist_ok=True)
    path = report.DIRECTORY / f"{NAME}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    plot.draw_if_possible(path, path.with_suffix(".png"))
