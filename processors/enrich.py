"""The enriched record: what the server knows about one event, typed in a header and readable in the event itself."""

from __future__ import annotations

from dataclasses import dataclass

from contracts import headers as h
from contracts.v1 import enrichment_pb2, facts_pb2
from processors import extension
from processors.intake import Incoming
from processors.pair import Pairing
from processors.pricing import PRICE_TABLE, cost_usd
from processors.statuses import effective_status
from processors.window import Mark


@dataclass(slots=True)
class Enriched:
    """The record for the enriched topic; key and timestamp are the raw record's."""

    value: bytes
    headers: list[tuple[str, str | bytes | None]]
    enrichment: enrichment_pb2.Enrichment


def enrich(event: Incoming, mark: Mark, pairing: Pairing | None) -> Enriched:
    """Pure: equal inputs give equal bytes. A marked record carries its mark, and nothing that depends on level 2."""
    record = event.record
    enrichment = enrichment_pb2.Enrichment(
        received_at_ns=event.received_at_ns,
        effective_status=effective_status(event),
        raw=facts_pb2.SourcePosition(topic=record.topic, partition=record.partition, offset=record.offset),
        content_sha256=event.content_sha256,
        canonical_sha256=event.canonical_sha256,
        resend_of=mark.resend_of,
        conflicts_with=mark.conflicts_with,
    )
    if event.timestamp_ns is not None:
        enrichment.clock_skew_ms = (event.received_at_ns - event.timestamp_ns) / 1_000_000
    if pairing is not None:
        enrichment.start_event_id = pairing.start_event_id
        enrichment.duration_ms = pairing.duration_ms
        if pairing.recovered is not None:
            enrichment.recovered.CopyFrom(pairing.recovered)
    cost = cost_usd(event)
    if cost is not None:
        enrichment.cost_usd = cost
        enrichment.price_table = PRICE_TABLE
    # A raw record with this header did not get it from the gateway; ours is the only one.
    headers: list[tuple[str, str | bytes | None]] = [pair for pair in record.headers if pair[0] != h.ENRICHMENT]
    headers.append((h.ENRICHMENT, enrichment.SerializeToString(deterministic=True)))
    assert record.value is not None
    return Enriched(record.value + extension.encode(enrichment), headers, enrichment)
