"""The enriched record: what the server knows about one event, typed in a header and readable in the event itself."""

from __future__ import annotations

from dataclasses import dataclass

from contracts import headers as h
from processors import extension
from processors.enrichment import Enrichment
from processors.intake import Headers, Incoming
from processors.pair import Pairing
from processors.pricing import PRICE_TABLE, PRICED_TYPE, cost_usd
from processors.statuses import effective_status
from processors.window import Mark


@dataclass(slots=True)
class Enriched:
    """The record for the enriched topic; key and timestamp are the raw record's."""

    value: bytes
    headers: Headers
    enrichment: Enrichment


def enrich(event: Incoming, mark: Mark | None, pairing: Pairing | None) -> Enriched:
    """Pure: equal inputs give equal bytes. A marked record carries its mark, and nothing that depends on level 2."""
    record, received_at_ns, timestamp_ns = event.record, event.received_at_ns, event.timestamp_ns
    enrichment = Enrichment(
        received_at_ns=received_at_ns,
        effective_status=effective_status(event),
        topic=record.topic,
        partition=record.partition,
        offset=event.offset,
        content_sha256=event.content_sha256,
        canonical_sha256=event.canonical_sha256,
        clock_skew_ms=None if timestamp_ns is None else (received_at_ns - timestamp_ns) / 1_000_000,
    )
    if mark is not None:
        enrichment.resend_of, enrichment.conflicts_with = mark.resend_of, mark.conflicts_with
    if pairing is not None:
        enrichment.start_event_id = pairing.start_event_id
        enrichment.duration_ms = pairing.duration_ms
        enrichment.recovered = pairing.recovered
    if event.type == PRICED_TYPE:
        cost = cost_usd(event)
        if cost is not None:
            enrichment.cost_usd, enrichment.price_table = cost, PRICE_TABLE
    headers: Headers = [*record.headers, (h.ENRICHMENT, enrichment.serialize())]
    if event.has_enrichment_header:
        # The gateway never writes it; ours is the only one.
        headers = [pair for pair in headers[:-1] if pair[0] != h.ENRICHMENT] + headers[-1:]
    return Enriched(event.value + extension.encode(enrichment), headers, enrichment)
