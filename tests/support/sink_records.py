"""Records as the processors write them, for tests of the sink alone."""

from __future__ import annotations

import hashlib
from typing import Any

from chaukas.spec.common.v1 import events_pb2 as pb
from google.protobuf import struct_pb2

from contracts import headers as h
from contracts.dead_letters import SourceRecord
from contracts.topics import Topics
from contracts.v1 import facts_pb2
from contracts.v1.enrichment_pb2 import Enrichment

TOPICS = Topics("test.")
RECEIVED_NS = 1_750_000_000_500_000_000


def enriched_value(event: pb.Event) -> bytes:
    """The event's bytes with an extension appended, as the processors do it."""
    told = struct_pb2.Struct()
    told.update({"chaukas.gateway": {"received_at": "2025-06-15T15:06:40.500000000Z"}})
    tail = pb.Event()
    tail.extensions.add().Pack(told)
    value: bytes = event.SerializeToString() + tail.SerializeToString()
    return value


def enriched_record(
    event: pb.Event,
    *,
    offset: int,
    partition: int = 0,
    raw: tuple[int, int] | None = None,
    received_ns: int = RECEIVED_NS,
    topics: Topics = TOPICS,
    extra_headers: dict[str, bytes] | None = None,
    **found: Any,
) -> SourceRecord:
    """A record of the enriched topic; `raw` is its position in the raw topic, `found` fields of the Enrichment."""
    content = event.SerializeToString()
    raw_partition, raw_offset = raw or (partition, offset)
    enrichment = Enrichment(
        received_at_ns=received_ns,
        content_sha256=hashlib.sha256(content).digest(),
        canonical_sha256=hashlib.sha256(event.SerializeToString(deterministic=True)).digest(),
        **{"effective_status": event.status, **found},
    )
    enrichment.raw.topic, enrichment.raw.partition, enrichment.raw.offset = topics.raw, raw_partition, raw_offset
    headers = {
        h.TENANT_ID: event.tenant_id.encode(),
        h.PROJECT_ID: event.project_id.encode(),
        h.EVENT_ID: event.event_id.encode(),
        h.RECEIVED_AT_NS: str(received_ns).encode(),
        h.SCHEMA: h.EVENT_SCHEMA.encode(),
        h.ENRICHMENT: enrichment.SerializeToString(),
        **(extra_headers or {}),
    }
    return SourceRecord(
        topic=topics.enriched,
        partition=partition,
        offset=offset,
        key=event.session_id.encode(),
        value=enriched_value(event),
        headers=tuple(headers.items()),
        timestamp_ms=received_ns // 1_000_000,
    )


def fact_record(topic: str, fact: Any, *, offset: int = 0, partition: int = 0) -> SourceRecord:
    """A record of one of the fact topics."""
    return SourceRecord(topic, partition, offset, b"s", fact.SerializeToString(), (), RECEIVED_NS // 1_000_000)


def handoff_fact(event: pb.Event, *, raw: tuple[int, int], **fields: Any) -> facts_pb2.HandoffFact:
    """Revision 1 of the hand-off `event`."""
    content = event.agent_handoff
    fact = facts_pb2.HandoffFact(
        **{
            "handoff_id": event.event_id,
            "tenant_id": event.tenant_id,
            "project_id": event.project_id,
            "session_id": event.session_id,
            "from_agent_id": content.from_agent_id,
            "to_agent_id": content.to_agent_id,
            "reason": content.reason,
            "handed_off_at": event.timestamp,
            "revision": 1,
            **fields,
        }
    )
    fact.source.topic, fact.source.partition, fact.source.offset = TOPICS.raw, *raw
    return fact
