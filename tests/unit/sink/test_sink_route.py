from __future__ import annotations

import pytest

from contracts import headers as h
from contracts.dead_letters import Reason, SourceRecord
from contracts.v1.enrichment_pb2 import Enrichment
from sink.route import BadRecord, enriched
from tests.support.events import event
from tests.support.sink_records import RECEIVED_NS, enriched_record


def with_header(record: SourceRecord, name: str, value: bytes | None) -> SourceRecord:
    """`record` with the header replaced, or without it."""
    kept = [pair for pair in record.headers if pair[0] != name]
    return record._replace(headers=tuple(kept + ([] if value is None else [(name, value)])))


def test_the_headers_say_who_and_where() -> None:
    found = enriched(enriched_record(event(event_id="e"), offset=3, raw=(7, 99)))
    assert (found.headers.tenant_id, found.headers.event_id, found.headers.received_at_ns) == ("t", "e", RECEIVED_NS)
    assert (found.enrichment.raw.partition, found.enrichment.raw.offset) == (7, 99)
    assert not found.is_resend
    assert not found.is_conflict


def test_marks_at_offset_zero_count() -> None:
    assert enriched(enriched_record(event(), offset=3, resend_of=0)).is_resend
    assert enriched(enriched_record(event(), offset=3, conflicts_with=0)).is_conflict


GOOD = enriched_record(event(event_id="e"), offset=3)


def enrichment(**changes: object) -> bytes:
    found = Enrichment.FromString(dict(GOOD.headers)[h.ENRICHMENT] or b"")
    for name, value in changes.items():
        if value is None:
            found.ClearField(name)
        elif name in ("partition", "offset"):
            setattr(found.raw, name, value)
        else:
            setattr(found, name, value)
    return found.SerializeToString()


@pytest.mark.parametrize(
    "record",
    [
        with_header(GOOD, h.TENANT_ID, None),
        with_header(GOOD, h.TENANT_ID, b"\xff"),
        with_header(GOOD, h.EVENT_ID, b""),
        with_header(GOOD, h.RECEIVED_AT_NS, b"-1"),
        with_header(GOOD, h.SCHEMA, b"other"),
        with_header(GOOD, h.ENRICHMENT, None),
        with_header(GOOD, h.ENRICHMENT, b"\xff\xff"),
        with_header(GOOD, h.ENRICHMENT, enrichment(raw=None)),
        with_header(GOOD, h.ENRICHMENT, enrichment(partition=-1)),
        with_header(GOOD, h.ENRICHMENT, enrichment(partition=1 << 16)),
        with_header(GOOD, h.ENRICHMENT, enrichment(offset=1 << 48)),
        with_header(GOOD, h.ENRICHMENT, enrichment(content_sha256=b"short")),
        with_header(GOOD, h.ENRICHMENT, enrichment(canonical_sha256=b"")),
        with_header(GOOD, h.ENRICHMENT, enrichment(resend_of=-1)),
    ],
)
def test_a_record_that_came_another_way_is_foreign(record: SourceRecord) -> None:
    with pytest.raises(BadRecord) as caught:
        enriched(record)
    assert caught.value.reason is Reason.FOREIGN_RECORD
