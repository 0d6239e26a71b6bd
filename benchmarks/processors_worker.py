"""One worker against a bare confluent-kafka loop with the same steps, on the same backlog of a real broker, in turn.

Both are processes of their own with groups of their own. A round is measured from the moment a twentieth of the backlog is
enriched, so that neither start nor Faust's own two seconds count, to the moment all of it is; then it must be committed.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.brokers import running_broker
from benchmarks.measure import Result
from benchmarks.processors_steps import PARTITIONS, stream
from runtime.settings import KafkaSettings
from tests.support.processors import RawTopic, Workers
from tests.support.waiting import wait_for

BACKLOG = 120_000
ROUNDS = 5
SKIPPED = BACKLOG // 20


@dataclass(frozen=True, slots=True)
class Round:
    """Of the events after the first twentieth."""

    wall_seconds: float
    cpu_seconds: float


def run() -> Iterator[Result]:
    with running_broker() as (broker, directory):
        kafka = broker.create_topics("bench.", partitions=PARTITIONS)
        fill(kafka)
        rounds: dict[str, list[Round]] = {"processors": [], "benchmarks.processors_bare": []}
        for number in range(ROUNDS):
            for module, measured in sorted(rounds.items(), reverse=bool(number % 2)):
                measured.append(one_round(kafka, directory, module))
    pairs = list(zip(*rounds.values(), strict=True))
    for what, attribute, goal in (("wall", "wall_seconds", 1 / 0.9), ("CPU", "cpu_seconds", 1 / 0.75)):
        # Neighbours share the machine's mood: the median of their ratios, not the ratio of medians.
        times = [(getattr(ours, attribute), getattr(bare, attribute)) for ours, bare in pairs]
        ours, bare = sorted(times, key=lambda pair: pair[0] / pair[1])[len(times) // 2]
        yield Result(
            "processors-worker", f"one worker, {what}", f"bare loop, {what}", ours, bare, BACKLOG - SKIPPED, goal
        )


def fill(kafka: KafkaSettings, count: int = BACKLOG) -> None:
    """The backlog; blocks until it is durable."""
    raw = RawTopic(kafka)
    for record in stream(count):
        raw.send_bytes(record.value, record.key, record.headers, flush=False)
    raw.flush()


def one_round(kafka: KafkaSettings, directory: Path, module: str, backlog: int = BACKLOG) -> Round:
    """`backlog` records are in the raw topic; the figures are those of all but the first twentieth."""
    skipped = backlog // 20
    with Workers(kafka, directory, group=f"bench-{uuid.uuid4()}") as group:
        before = sum(group.ends(kafka.topics.enriched).values())
        worker = group.start(module=module)
        process = psutil.Process(worker.process.pid)

        def enriched() -> int:
            return sum(group.ends(kafka.topics.enriched).values()) - before

        wait_for("the first twentieth", lambda: enriched() >= skipped, every=0.02)
        start, cpu = time.monotonic(), _cpu(process)
        done = enriched()
        wait_for("the rest", lambda: enriched() >= backlog, seconds=300, every=0.02)
        wall, used = time.monotonic() - start, _cpu(process) - cpu
        group.wait_until_done()
        # The first look may come late: scale to the events the figures are given for.
        share = (backlog - skipped) / (backlog - done)
        print(f"  {module}: {(backlog - done) / wall:,.0f} events/s, {used / wall:.2f} cores", file=sys.stderr)
        return Round(wall * share, used * share)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
