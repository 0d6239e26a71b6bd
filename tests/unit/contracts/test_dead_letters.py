"""A letter holds the whole record, and the same failure is the same letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import dead_letters as dl
from contracts import headers as h

RECORDS = st.builds(
    dl.SourceRecord,
    topic=st.text(min_size=1, max_size=20),
    partition=st.integers(0, 1000),
    offset=st.integers(0, 2**62),
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=50),
    headers=st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=8)), max_size=4).map(tuple),
    timestamp_ms=st.integers(0, 2**42),
)


@given(RECORDS)
def test_a_letter_holds_the_record(record: dl.SourceRecord) -> None:
    letter = dl.build(record, dl.Stage.SINK, dl.Reason.ROW_REFUSED, "why")
    assert (letter.topic, letter.partition, letter.offset) == (record.topic, record.partition, record.offset)
    assert (letter.key if letter.HasField("key") else None) == record.key
    assert letter.value == (record.value or b"")
    kept = tuple((x.name, x.value if x.HasField("value") else None) for x in letter.headers)
    assert kept == record.headers
    again = dl.build(record, dl.Stage.SINK, dl.Reason.ROW_REFUSED, "why")
    assert again.SerializeToString(deterministic=True) == letter.SerializeToString(deterministic=True)


@given(RECORDS)
def test_a_letter_that_withholds_holds_no_content(record: dl.SourceRecord) -> None:
    known = ((h.TENANT_ID, b"t"), (h.EVENT_ID, b"e"))
    record = record._replace(headers=(*record.headers, *known))
    letter = dl.build(record, dl.Stage.PROCESSORS, dl.Reason.UNPARSEABLE, "why", withhold=True)
    assert letter.withheld
    assert letter.value == b""
    assert (letter.topic, letter.partition, letter.offset) == (record.topic, record.partition, record.offset)
    assert {header.name for header in letter.headers} <= h.GATEWAY_HEADERS
    assert [(header.name, header.value) for header in letter.headers][-2:] == list(known)


def test_the_id_tells_stage_and_position_apart() -> None:
    ids = {dl.dead_letter_id(t, p, o, s) for t in ("a", "b") for p in (0, 1) for o in (0, 1) for s in dl.Stage}
    assert len(ids) == 16


def test_the_letter_names_the_tenant_for_isolation() -> None:
    record = dl.SourceRecord("t", 0, 0, None, b"v", ((h.TENANT_ID, b"acme"),), 0)
    letter = dl.build(record, dl.Stage.PROCESSORS, dl.Reason.UNPARSEABLE, "m")
    assert letter.tenant_id == "acme"
    assert dict(dl.record_headers(letter))[h.REASON] == b"unparseable"


@pytest.mark.parametrize("timestamp_ms", [2**63 - 1, -(2**63), 2**53])
def test_a_record_of_any_time_becomes_a_letter(timestamp_ms: int) -> None:
    """Whoever writes to a topic chooses the time; in nanoseconds it may not fit."""
    letter = dl.build(
        dl.SourceRecord("t", 0, 0, None, b"v", (), timestamp_ms), dl.Stage.SINK, dl.Reason.UNPARSEABLE, ""
    )
    assert letter.timestamp_ms == timestamp_ms
    assert abs(letter.first_seen_ns) >= 2**53
