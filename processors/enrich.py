"""The enriched record: what the server knows about one event, typed in a header and readable in the event itself."""

from __future__ import annotations

from typing import NamedTuple

from contracts import headers as h
from processors import extension
from processors.enrichment import Enrichment
from processors.forms import EARLIEST_NS, common_forms
from processors.intake import Headers, Incoming
from processors.pair import Pairing
from processors.pricing import PRICE_TABLE, PRICED_TYPE, cost_usd
from processors.statuses import effective_status
from processors.window import Mark


class Enriched(NamedTuple):
    """The record for the enriched topic; key and timestamp are the raw record's. `mark` and `pairing` are in it.

    `has_bounded_headers`: together they take at most twice the value's length and :data:`contracts.headers.BOUNDED_BYTES`.
    """

    value: bytes
    headers: Headers
    mark: Mark | None = None
    pairing: Pairing | None = None
    has_bounded_headers: bool = False


_new_tuple = tuple.__new__  # a NamedTuple's own constructor costs twice as much


def enrich(event: Incoming, mark: Mark | None, pairing: Pairing | None) -> Enriched:
    """Pure: equal inputs give equal bytes. A marked record carries its mark, and nothing that depends on level 2."""
    sent_ns = event.timestamp_ns
    skew_ms = None if sent_ns is None else (event.received_at_ns - sent_ns) / 1_000_000
    cost = cost_usd(event) if event.type == PRICED_TYPE else None
    status = effective_status(event)
    if (
        mark is not None
        or skew_ms is None
        or event.received_at_ns < EARLIEST_NS
        or event.redaction is not None
        or (pairing is not None and pairing.recovered is not None)
    ):
        header, appended = _forms(event, status, skew_ms, mark, pairing, cost)
    else:
        header, appended = common_forms(event, status, skew_ms, pairing, cost)
    headers: Headers = [*event.record.headers, (h.ENRICHMENT, header)]
    bounded = type(event.headers) is h.BoundedHeaders
    if not bounded and event.headers.enrichment is not None:
        # The gateway never writes it; ours is the only one.
        headers = [pair for pair in headers[:-1] if pair[0] != h.ENRICHMENT] + headers[-1:]
    # Whatever is long in the new header is in the extension as well, so in the value. (Redaction may leave less of that.)
    bounded = bounded and event.redaction is None
    return _new_tuple(Enriched, (event.value + appended, headers, mark, pairing, bounded))


def _forms(
    event: Incoming,
    status: int,
    skew_ms: float | None,
    mark: Mark | None,
    pairing: Pairing | None,
    cost: float | None,
) -> tuple[bytes, bytes]:
    known = Enrichment(
        received_at_ns=event.received_at_ns,
        effective_status=status,
        topic=event.record.topic,
        partition=event.record.partition,
        offset=event.offset,
        content_sha256=event.content_sha256,
        canonical_sha256=event.canonical_sha256,
        clock_skew_ms=skew_ms,
    )
    if mark is not None:
        known.resend_of, known.conflicts_with = mark.resend_of, mark.conflicts_with
    if pairing is not None:
        known.start_event_id, known.duration_ms, known.recovered = pairing
    if cost is not None:
        known.cost_usd, known.price_table = cost, PRICE_TABLE
    if event.redaction is not None:
        known.redacted, known.redaction_version = event.redaction
    return known.serialize(), extension.encode(known)
