"""Rows in a real store, made by the sink's own mapping: for tests of queries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaukas.spec.common.v1 import events_pb2 as pb

from contracts import headers as h
from contracts.dead_letters import SourceRecord
from contracts.v1.enrichment_pb2 import Enrichment
from contracts.v1.facts_pb2 import HandoffFact, McpCallFact
from sink import facts
from sink.migrate import migrate
from sink.rows import map_events
from sink.store import Store
from sink.writer import arrow_insert
from tests.support.raw_records import RECEIVED_NS

TABLES = ("events", "event_ids", "resends", "conflicts", "handoffs", "mcp_calls", "dead_letters", "erasures")


@dataclass(frozen=True)
class Copy:
    """One copy of an event as it reached the raw topic."""

    event: pb.Event
    partition: int = 0
    offset: int = 0
    received_ns: int = RECEIVED_NS
    #: None: as the client sent it.
    effective_status: int | None = None

    @property
    def status(self) -> int:
        return int(self.event.status) if self.effective_status is None else self.effective_status

    @property
    def canonical(self) -> bytes:
        return hashlib.sha256(self.event.SerializeToString(deterministic=True)).digest()

    @property
    def value(self) -> bytes:
        """The enriched value: the client's bytes and an appended extension that names this copy."""
        extended = pb.Event()
        added = extended.extensions.add()
        added.type_url = "type.googleapis.com/test.Position"
        added.value = f"{self.partition}/{self.offset}".encode()
        whole: bytes = self.event.SerializeToString(deterministic=True) + extended.SerializeToString()
        return whole

    def record(self) -> SourceRecord:
        event = self.event
        enrichment = Enrichment(
            received_at_ns=self.received_ns,
            effective_status=self.status,
            content_sha256=self.canonical,
            canonical_sha256=self.canonical,
        )
        enrichment.raw.topic, enrichment.raw.partition, enrichment.raw.offset = "raw", self.partition, self.offset
        headers = {
            h.TENANT_ID: event.tenant_id.encode(),
            h.PROJECT_ID: event.project_id.encode(),
            h.EVENT_ID: event.event_id.encode(),
            h.RECEIVED_AT_NS: str(self.received_ns).encode(),
            h.SCHEMA: h.EVENT_SCHEMA.encode(),
            h.ENRICHMENT: enrichment.SerializeToString(),
        }
        return source(self.value)._replace(headers=tuple(headers.items()))


def source(value: bytes) -> SourceRecord:
    return SourceRecord("enriched", 0, 0, None, value, (), 0)


def open_store(directory: Path, readers: int = 2) -> Store:
    store = Store.open(f"chdb:///{directory}", readers=readers, memory_bytes=1 << 30)
    migrate(store.settler)
    return store


def clear(store: Store) -> None:
    for table in TABLES:
        store.writer.command(f"TRUNCATE TABLE {table}")


def insert(store: Store, table: str, rows: Any) -> None:
    arrow_insert(store.writer, 60)(table, rows)


def insert_copies(store: Store, copies: Iterable[Copy]) -> None:
    """One insert into `events`, so one part."""
    mapped = map_events([copy.record() for copy in copies])
    assert not mapped.bad
    insert(store, "events", mapped.table)


def insert_handoffs(store: Store, found: Sequence[HandoffFact]) -> None:
    rows = [facts.handoff_row(source(fact.SerializeToString())) for fact in found]
    insert(store, "handoffs", facts.to_table("handoffs", rows))


def insert_mcp_calls(store: Store, found: Sequence[McpCallFact]) -> None:
    rows = [facts.mcp_call_row(source(fact.SerializeToString())) for fact in found]
    insert(store, "mcp_calls", facts.to_table("mcp_calls", rows))
