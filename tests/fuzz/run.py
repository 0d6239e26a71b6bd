"""One run: so many requests over all doors and parsers, from one seed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.identity import IDENTITY_METADATA, INTERNAL_TOKEN_METADATA, Identity, Scope
from tests.fuzz.grpc_load import ASK, INGEST, OTHER, GrpcLoad, GrpcShapes, GrpcTarget
from tests.fuzz.http2_client import hpack_binary
from tests.fuzz.http_load import HttpLoad
from tests.fuzz.http_shapes import HttpShapes
from tests.fuzz.json_shapes import JsonShapes
from tests.fuzz.outcomes import Outcomes
from tests.fuzz.parsers import ParserFuzzer
from tests.fuzz.records import BATCH, RecordFuzzer
from tests.fuzz.target import SINK_TOKEN, MemoryWatch, Target, target
from tests.fuzz.wire_shapes import TENANT, WireShapes
from tests.fuzz.witness import Witness

#: How requests are shared: what a socket adds something to goes through one.
HTTP, GRPC, SINK, PARSERS = 0.40, 0.26, 0.004, 0.19  # the rest: records
#: Queries among requests to the gateway: an engine works on each.
_ASKS = 0.006
_LIES = 0.04
_HTTP_CONNECTIONS, _GRPC_CONNECTIONS, _SINK_CONNECTIONS = 16, 4, 2
#: Below so many requests memory says nothing about growth: tables and caches still fill.
_JUDGED_FROM = 100_000
_MOST_GROWTH = 1.10


@dataclass
class Report:
    """What a run found. :attr:`problems` is empty when it may pass."""

    seed: int
    outcomes: Outcomes
    #: By process: second half to first, and the largest, MiB.
    memory: dict[str, tuple[float, float]]
    witness_calls: int
    witness_slowest_seconds: float
    seconds: float
    through_sockets: int
    #: Seconds each part took; those of the doors run beside each other.
    parts: dict[str, float]
    problems: list[str] = field(default_factory=list)

    def text(self) -> str:
        """The summary table."""
        lines = [f"seed {self.seed}", self.outcomes.table(), ""]
        lines.append(f"through sockets: {self.through_sockets:,} of {self.outcomes.total:,}")
        for name, (ratio, largest) in self.memory.items():
            lines.append(f"memory of the {name}: second half / first half {ratio:.3f}, at most {largest:.0f} MiB")
        lines.append(
            f"well-behaved client: {self.witness_calls:,} calls, the slowest took {self.witness_slowest_seconds:.1f} s"
        )
        parts = ", ".join(f"{name} {seconds:.0f}" for name, seconds in self.parts.items())
        lines.append(f"{self.seconds:.0f} s ({parts}), {self.outcomes.total / self.seconds:,.0f} requests/s")
        lines += [f"PROBLEM {problem}" for problem in self.problems] or ["no problem found"]
        return "\n".join(lines)


def run(requests: int, seed: int, directory: Path) -> Report:
    """Blocks for about a minute per 150,000 requests, and ten seconds to start."""
    outcomes, parts = Outcomes(), dict[str, float]()
    with target(directory) as running:
        running.fill(RecordFuzzer(rng(seed, "fill"), WireShapes(rng(seed, "fill shapes")), Outcomes()), 600)
        watch = MemoryWatch(running.processes())
        witness = Witness(running.grpc_port, running.http_port, running.keys.add())
        started = time.monotonic()
        through_sockets = asyncio.run(_doors(running, requests, seed, outcomes, parts))
        witness.stop()
        memory = watch.stop()
        problems = running.trouble()
    with timed(parts, "in process"):
        _in_process(requests - through_sockets, seed, outcomes, directory)
    seconds = time.monotonic() - started
    problems += outcomes.defects + witness.failures
    if through_sockets >= _JUDGED_FROM:
        problems += [f"{name} grows: {ratio:.2f}" for name, (ratio, _) in memory.items() if ratio > _MOST_GROWTH]
    return Report(
        seed, outcomes, memory, witness.calls, witness.slowest_seconds, seconds, through_sockets, parts, problems
    )


def rng(seed: int, *names: object) -> random.Random:
    """A source of randomness of its own for each name, so that none depends on how much another has taken."""
    return random.Random(":".join(map(str, (seed, *names))))


@contextlib.contextmanager
def timed(parts: dict[str, float], name: str) -> Iterator[None]:
    """Note how long the block takes."""
    started = time.monotonic()
    yield
    parts[name] = time.monotonic() - started
    print(f"{name}: {parts[name]:.0f} s", file=sys.stderr, flush=True)


async def _doors(running: Target, requests: int, seed: int, outcomes: Outcomes, parts: dict[str, float]) -> int:
    """Everything that goes through sockets; how many that was."""
    key = running.keys.full.text

    def http_shapes(number: int) -> HttpShapes:
        source = rng(seed, "http", number)
        return HttpShapes(source, WireShapes(source), JsonShapes(source), key)

    def grpc_shapes(target: GrpcTarget, number: int) -> GrpcShapes:
        source = rng(seed, target.name, number)
        return GrpcShapes(source, WireShapes(source), target)

    gateway = GrpcTarget(
        "grpc",
        running.grpc_port,
        ((b"authorization", f"Bearer {key}".encode()),),
        ((INGEST, 0.93 - _ASKS), (ASK, _ASKS), (OTHER, 0.07)),
    )
    identity = Identity(TENANT, None, frozenset({Scope.QUERY})).to_metadata()
    sink = GrpcTarget(
        "sink",
        running.sink_port,
        ((INTERNAL_TOKEN_METADATA.encode(), SINK_TOKEN.encode()), (IDENTITY_METADATA.encode(), hpack_binary(identity))),
        ((ASK, 0.8), (OTHER, 0.2)),
    )
    counts = {"http": round(requests * HTTP), "grpc": round(requests * GRPC), "sink": round(requests * SINK)}

    async def load(name: str, work: Coroutine[Any, Any, None]) -> None:
        with timed(parts, name):
            await work

    grpc_load = GrpcLoad(gateway, lambda number: grpc_shapes(gateway, number), outcomes)
    sink_load = GrpcLoad(sink, lambda number: grpc_shapes(sink, number), outcomes)
    http_load = HttpLoad(running.http_port, http_shapes, outcomes)
    await asyncio.gather(
        load("http", http_load.run(counts["http"], _HTTP_CONNECTIONS, _ASKS, _LIES)),
        load("grpc", grpc_load.run(counts["grpc"], _GRPC_CONNECTIONS)),
        load("sink", sink_load.run(counts["sink"], _SINK_CONNECTIONS)),
    )
    return outcomes.total


def _in_process(requests: int, seed: int, outcomes: Outcomes, directory: Path) -> None:
    """The parsers that a socket would add nothing to."""
    source = rng(seed, "in process")
    shapes = WireShapes(source)
    records = RecordFuzzer(source, shapes, outcomes)
    scratch = directory / "parsers"
    scratch.mkdir()
    parsers = ParserFuzzer(source, shapes, JsonShapes(source), outcomes, scratch)
    share = PARSERS / (1 - HTTP - GRPC - SINK)
    for _ in range(round(requests * share)):
        parsers.one()
    for _ in range(max(1, round(requests * (1 - share)) // (2 * BATCH))):
        records.raw_batch()
        records.sink_batch()
