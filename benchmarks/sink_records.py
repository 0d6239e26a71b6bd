"""Enriched records as the sink reads them: whole sessions, about 700 bytes an event, with text inside the Structs."""

from __future__ import annotations

import random

from chaukas.spec.common.v1 import events_pb2 as pb

from contracts.dead_letters import SourceRecord
from contracts.topics import Topics
from tests.support.events import seeded_sessions
from tests.support.sink_records import RECEIVED_NS, enriched_record


def records(count: int, topics: Topics, partitions: int = 4, seed: int = 11) -> list[SourceRecord]:
    """`count` records of the enriched topic, sessions spread over `partitions`, no id twice."""
    rng = random.Random(seed)
    words = [f"word{number}" for number in range(5_000)]
    made: list[SourceRecord] = []
    offsets = [0] * partitions
    for number, session in enumerate(seeded_sessions(seed, count // 14, tenant="tenant", project="project")):
        partition = number % partitions
        for event in session:
            _talk(event, " ".join(rng.choices(words, k=35)))
            offset = offsets[partition]
            offsets[partition] += 1
            received = RECEIVED_NS + len(made) * 1_000_000
            made.append(
                enriched_record(
                    event, offset=offset, partition=partition, received_ns=received, duration_ms=1.5, topics=topics
                )
            )
            if len(made) == count:
                return made
    return made


def _talk(event: pb.Event, text: str) -> None:
    kind = event.WhichOneof("content")
    if kind == "llm_invocation":
        event.llm_invocation.request.update({"messages": [{"role": "user", "content": text}], "temperature": 0.5})
    elif kind == "tool_call":
        event.tool_call.arguments.update({"query": text, "limit": 10})
    elif kind == "mcp_call":
        event.mcp_call.request.update({"params": {"path": text}})
    elif kind is None:
        event.metadata.update({"note": text})
    elif kind == "message":
        event.message.text = text
