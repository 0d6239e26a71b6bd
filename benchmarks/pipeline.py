"""The whole pipeline on one machine: CPU of everything that an event costs from its call to its row, by stage.

A stack as ``chaukas-gateway up`` starts it takes :data:`EVENTS` events in durable gRPC batches of 100, as fast as they are answered;
CPU (user and system, merges, commits and the JVM's own threads included) is counted until all of them are in the store and the
store has come to rest. The floors are measured in the same run, each stage alone and without its promises: a grpc.aio server that does
nothing with these bytes; a bare confluent-kafka loop with the same steps; a bare ``insert_arrow`` of such rows into the same
schema, merges stopped. The broker is its own floor: nobody's code but Kafka's.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil

from benchmarks import processors_worker, sink_writer
from benchmarks.gateway_doors import PARTITIONS
from benchmarks.load import processes
from benchmarks.load.plan import Plan
from benchmarks.load.processes import Target
from benchmarks.measure import Result
from benchmarks.sink_records import records
from cli.stack import kafka as local_kafka
from cli.stack.record import load_record
from cli.stack.status import collect
from runtime.settings import KafkaSettings, SinkSettings, load
from sink.batch import Batch
from sink.prepare import prepare
from tests.support.stack import PROCESSES, Client, Stack
from tests.support.waiting import wait_for

NAME = "pipeline"
CALLS, PER_CALL = 1000, 100
EVENTS = CALLS * PER_CALL
WARM_CALLS = 500
PROJECT = "bench"
#: Events of the floors of processors and sink.
FLOOR_EVENTS = 60_000
#: At rest: less CPU than this in a second.
REST_SECONDS = 0.08
_STAGES = {"gateway": "gateway", "kafka": "broker", "processors": "processors", "sink": "sink"}


@dataclass(frozen=True)
class Whole:
    """CPU seconds of an event by program, and seconds on the clock until all were stored."""

    cpu: dict[str, float]
    callers: float
    accepted_after: float
    stored_after: float


def run() -> Iterator[Result]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        stack = Stack(Path(directory) / "stack", {"STACK_GATEWAYS": "1", "KAFKA_TOPIC_PARTITIONS": str(PARTITIONS)})
        try:
            stack.up()
            whole = _whole(stack)
            print(f"  stored after {whole.stored_after:.0f} s; now the floors", file=sys.stderr)
            kafka = load(
                KafkaSettings,
                bootstrap_servers=stack.endpoints.kafka_bootstrap_servers,
                topic_prefix="floor.",
                topic_partitions=PARTITIONS,
            )
            local_kafka.create_topics(kafka, time.monotonic() + 60)
            floors = {
                "gateway": _gateway_floor(),
                "kafka": whole.cpu["kafka"],
                "processors": _processors_floor(kafka, Path(directory)),
                "sink": _sink_floor(Path(directory), kafka),
            }
        finally:
            stack.down()
    total, floor = sum(whole.cpu.values()), sum(floors.values())
    million = f"{total * 1e6:.1f} CPU-seconds a million events stored"
    yield Result(NAME, f"the whole pipeline: {million}", "sum of its stages' floors", total, floor, 1)
    for program, stage in _STAGES.items():
        yield Result(NAME, f"share of the {stage}", "the whole pipeline", whole.cpu[program], total, 1)
    for program, stage in _STAGES.items():
        if program != "kafka":
            yield Result(NAME, f"the {stage}", f"the {stage}'s floor", whole.cpu[program], floors[program], 1)
    yield Result(NAME, "the callers (not counted above)", "the whole pipeline", whole.callers, total, 1)
    yield Result(
        NAME,
        f"stored after, on the clock ({EVENTS} events)",
        "accepted after",
        whole.stored_after,
        whole.accepted_after,
        0,
    )


def _whole(stack: Stack) -> Whole:
    ports = load_record(stack.directory).ports  # type: ignore[union-attr]  # it runs
    endpoints = stack.endpoints
    plan = Plan(
        "grpc-batch",
        ports["GATEWAY_GRPC_PORT"],
        endpoints.api_key,
        endpoints.tenant_id,
        PROJECT,
        seconds=120,
        calls=WARM_CALLS,
    )
    page = f"http://127.0.0.1:{ports['SINK_HTTP_PORT']}/metrics"
    processes.call(plan)
    _wait_stored(page, WARM_CALLS * PER_CALL)
    _rest(stack)
    before, started = _cpu(stack), time.monotonic()
    tally = processes.call(replace(plan, calls=CALLS, seed=2))
    accepted_after = time.monotonic() - started
    if tally.refused or tally.accepted != CALLS:
        raise RuntimeError(f"a measured load is not refused: {tally}")
    _wait_stored(page, (WARM_CALLS + CALLS) * PER_CALL)
    stored_after = time.monotonic() - started
    _rest(stack)
    after = _cpu(stack)
    _check_stored(stack, (WARM_CALLS + CALLS) * PER_CALL)
    cpu = {program: (after[program] - before[program]) / EVENTS for program in PROCESSES}
    return Whole(cpu, tally.cpu_seconds / EVENTS, accepted_after, stored_after)


def _wait_stored(page: str, events: int) -> None:
    """By the sink's own count: a statistic would be paid for by the stage that is measured."""

    def stored() -> bool:
        found = re.search(r'^sink_rows_stored_total\{table="events"\} (\S+)$', httpx.get(page).text, re.MULTILINE)
        return found is not None and float(found[1]) >= events

    wait_for(f"{events} events to be stored", stored, seconds=180, every=0.5)


def _check_stored(stack: Stack, events: int) -> None:
    client = Client(stack)
    try:
        found = client.stats(project_id=PROJECT).total_events
    finally:
        client.close()
    if found != events:
        raise RuntimeError(f"{found} events in the store instead of {events}")


def _cpu(stack: Stack) -> dict[str, float]:
    """CPU seconds so far, by program."""
    found: dict[str, float] = {}
    for process in collect(stack.directory, load_record(stack.directory)).processes:
        times = psutil.Process(process.pid).cpu_times()
        program = process.process.partition("-")[0]
        found[program] = found.get(program, 0.0) + times.user + times.system
    return found


def _rest(stack: Stack) -> None:
    """Until sink and processors have nothing left to do: commits and merges too."""

    def resting() -> bool:
        before = _cpu(stack)
        time.sleep(1.0)
        after = _cpu(stack)
        return all(after[name] - before[name] < REST_SECONDS for name in ("sink", "processors", "gateway"))

    wait_for("the stack to come to rest", resting, seconds=60, every=0.0)


def _gateway_floor() -> float:
    def call(target: Target, calls: int) -> None:
        tally = processes.call(Plan("grpc-batch", target.ports["grpc"], target.key, seconds=60, calls=calls))
        assert tally.accepted == calls, tally

    with processes.nothing() as target:
        call(target, WARM_CALLS)
        before = target.cpu_seconds()
        call(target, CALLS)
        return (target.cpu_seconds() - before) / EVENTS


def _processors_floor(kafka: KafkaSettings, directory: Path) -> float:
    processors_worker.fill(kafka, FLOOR_EVENTS)
    bare = processors_worker.one_round(kafka, directory, "benchmarks.processors_bare", FLOOR_EVENTS)
    return bare.cpu_seconds / (FLOOR_EVENTS - FLOOR_EVENTS // 20)


def _sink_floor(directory: Path, kafka: KafkaSettings) -> float:
    settings = load(SinkSettings)
    sources = records(FLOOR_EVENTS, kafka.topics, PARTITIONS)
    tables = []
    for start in range(0, len(sources), settings.batch_rows):
        batch = Batch()
        for source in sources[start : start + settings.batch_rows]:
            batch.add(source, 0.0)
        tables.append(prepare(batch, kafka.topics).tables[0].rows)
    _, cpu = sink_writer.bare_insert(directory / "bare", tables)
    return cpu / FLOOR_EVENTS
