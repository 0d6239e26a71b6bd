"""Two gateway processes against one: does a second core bring a second core's worth?

Each worker has callers of its own (as many connections to each, which is what connection age brings about on a shared port), and
the same load: once alone, once beside the other. If the workers shared anything that they had to wait for, an event would cost
more CPU beside the other. Capacity is cores over CPU per event, so twice what an event costs alone over what it costs beside
another is the gain of the second worker. On a machine with cores to spare the throughput of both at full load is compared, too,
each worker on a core of its own.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks.brokers import running_broker
from benchmarks.gateway_doors import PARTITIONS
from benchmarks.load import processes
from benchmarks.load.plan import Plan, Tally
from benchmarks.load.processes import Target
from benchmarks.measure import Result
from runtime.settings import KafkaSettings

NAME = "gateway-workers"
#: Batches of 100 a second of each worker: an eighth of a core, so that broker and callers have room on two cores, too.
RATE = 100.0
ROUNDS, SECONDS, WARM_SECONDS = 7, 4.0, 6.0
#: One for each worker, one for the broker, and one for the callers.
CORES_FOR_THROUGHPUT = 4
#: Of one worker over two: 1.8 times.
GOAL = 1 / 1.8


def run() -> Iterator[Result]:
    with running_broker() as (broker, directory):
        kafka = broker.create_topics("bench.", partitions=PARTITIONS)
        yield from _measure(kafka, directory)


def _measure(kafka: KafkaSettings, directory: Path) -> Iterator[Result]:
    places = [directory / name for name in ("one", "two")]
    for place in places:
        place.mkdir()
    with processes.gateway(kafka, places[0]) as one, processes.gateway(kafka, places[1]) as two:
        both = [one, two]
        _call(both, 0.0, 1, WARM_SECONDS)
        alone, beside = [], []
        for number in range(ROUNDS):
            # Each is the one that is alone in turn: no worker's luck decides.
            alone.append(_cost([both[number % 2]], 10 + number))
            beside.append(_cost(both, 20 + number))
        cost_alone, cost_beside = statistics.median(alone), statistics.median(beside)
        baseline = "the same worker, alone"
        yield Result(NAME, "CPU of an event beside a second worker", baseline, cost_beside, cost_alone, 1)
        yield Result(
            NAME, "capacity of one worker, by CPU", "capacity of two, by CPU", cost_beside, 2 * cost_alone, 0, GOAL
        )
        full = [_throughput(workers) for workers in ([one], both)]
        spare = len(os.sched_getaffinity(0)) >= CORES_FOR_THROUGHPUT
        what = "events/s of one worker" + (
            "" if spare else " (callers and broker on the same cores: not the workers' limit)"
        )
        yield Result(NAME, what, "events/s of two", full[0], full[1], 0, GOAL if spare else None)


def _cost(workers: Sequence[Target], seed: int) -> float:
    """CPU seconds of an event, at :data:`RATE` for each worker."""
    before = [worker.cpu_seconds() for worker in workers]
    tallies = _call(workers, RATE, seed, SECONDS)
    used = sum(worker.cpu_seconds() - then for worker, then in zip(workers, before, strict=True))
    return used / sum(tally.accepted * 100 for tally in tallies)


def _throughput(workers: Sequence[Target]) -> float:
    """Events a second as fast as they are answered, each worker on a core of its own when there are enough."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) >= CORES_FOR_THROUGHPUT:
        for worker, core in zip(workers, cores, strict=False):
            _pin(worker, [core])
    tallies = _call(workers, 0.0, 30 + len(workers), SECONDS)
    for worker in workers:
        _pin(worker, cores)
    return sum(tally.accepted * 100 / tally.seconds for tally in tallies)


def _pin(worker: Target, cores: list[int]) -> None:
    for thread in psutil.Process(worker.pid).threads():
        os.sched_setaffinity(thread.id, cores)


def _call(workers: Sequence[Target], rate: float, seed: int, seconds: float) -> list[Tally]:
    """Callers of each worker, at once. Raises when a call was refused."""
    plan = Plan("grpc-batch", 0, "", connections=4, in_flight=32, rate=rate, seconds=seconds)
    plans = [
        replace(plan, port=worker.ports["grpc"], key=worker.key, seed=100 * seed + number)
        for number, worker in enumerate(workers)
    ]
    with ThreadPoolExecutor(len(workers)) as pool:
        tallies = list(pool.map(processes.call, plans))
    if any(tally.refused for tally in tallies):
        raise RuntimeError(f"a measured load is not refused: {tallies}")
    return tallies
