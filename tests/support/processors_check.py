"""Traffic for workers on real Kafka, and the check that holds for every run, whatever happened to the workers meanwhile."""

from __future__ import annotations

import random
import urllib.error
import urllib.request
from collections import defaultdict
from typing import Any

from chaukas.spec.common.v1 import events_pb2 as pb

from contracts.v1 import dead_letter_pb2, enrichment_pb2, facts_pb2
from processors.intake import BadRecord, RawRecord, read
from processors.mcp_calls import _NAMESPACE
from tests.support.enrichment_oracle import expected
from tests.support.events import seeded_sessions
from tests.support.processors import Worker, Workers


def traffic(seed: int, sessions: int) -> list[Any]:
    """Interleaved sessions of two tenants that share session and span ids, with re-sends and conflicts."""
    rng = random.Random(seed)
    queues = [
        events for tenant in ("t1", "t2") for events in seeded_sessions(seed, sessions // 2, tenant=tenant, project="p")
    ]
    mixed: list[Any] = []
    active = queues[:12]
    waiting = queues[12:]
    while active:
        events = rng.choice(active)
        mixed.append(events.pop(0))
        if not events:
            active.remove(events)
            if waiting:
                active.append(waiting.pop())
        dice = rng.random()
        if dice < 0.03:
            mixed.append(rng.choice(mixed[-60:]))
        elif dice < 0.05:
            changed = pb.Event()
            changed.CopyFrom(rng.choice(mixed[-60:]))
            changed.tags.append("changed")
            mixed.append(changed)
    return mixed


def check(workers: Workers) -> int:
    """Everything on the topics is what the oracle says, copies are identical, order is kept. The number of duplicates."""
    topics = workers.kafka.topics
    raw = workers.read(topics.raw)
    good: dict[int, list[RawRecord]] = defaultdict(list)
    bad: set[tuple[int, int]] = set()
    for record in raw:
        try:
            read(record)
            good[record.partition].append(record)
        except BadRecord:
            bad.add((record.partition, record.offset))
    wanted = {
        (number, offset): result
        for number, records in good.items()
        for offset, result in expected(records, workers.window, _NAMESPACE).items()
    }
    sources = {(record.partition, record.offset): record for record in raw}

    first: dict[tuple[int, int], RawRecord] = {}
    enriched = workers.read(topics.enriched)
    for record in enriched:
        headers: dict[str, Any] = dict(record.headers)
        enrichment = enrichment_pb2.Enrichment.FromString(headers["enrichment"])
        place = (enrichment.raw.partition, enrichment.raw.offset)
        if place in first:
            known = first[place]
            assert (record.value, record.headers, record.key) == (known.value, known.headers, known.key)
            continue
        first[place] = record
        source = sources[place]
        assert enrichment == wanted[place].enrichment
        assert source.value is not None
        assert record.value is not None
        assert record.value.startswith(source.value)
        assert (record.key, record.timestamp_ms) == (source.key, source.timestamp_ms)
    assert first.keys() == wanted.keys()
    # Equal keys and partitioners: an enriched partition holds one raw partition, its first copies in order.
    assert list(first) == sorted(first)

    for topic, message, attribute in (
        (topics.handoffs, facts_pb2.HandoffFact, "handoffs"),
        (topics.mcp_calls, facts_pb2.McpCallFact, "mcp_calls"),
    ):
        found = {record.value for record in workers.read(topic)}
        assert found == {
            fact.SerializeToString(deterministic=True)
            for result in wanted.values()
            for fact in getattr(result, attribute)
        }
        assert all(message.FromString(value) for value in found if value is not None)

    letters = [dead_letter_pb2.DeadLetter.FromString(r.value or b"") for r in workers.read(topics.dead_letters)]
    assert {(letter.partition, letter.offset) for letter in letters} == bad
    assert len({letter.SerializeToString(deterministic=True) for letter in letters}) == len(bad)
    return len(enriched) - len(first)


def metrics(worker: Worker) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def ready(worker: Worker) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/readyz", timeout=10) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False
