"""The two encodings made by hand agree with protobuf's own, byte for byte."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from chaukas.spec.common.v1 import events_pb2 as pb
from google.protobuf import any_pb2, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from contracts.v1 import enrichment_pb2
from processors import extension
from processors.enrichment import Enrichment, Recovered
from processors.forms import EARLIEST_NS, common_forms
from processors.intake import read
from processors.pair import Pairing
from processors.pricing import PRICE_TABLE
from processors.statuses import status_name
from processors.wire import int64, varint
from tests.support.raw_records import raw_record

doubles = st.floats(allow_nan=False)
text = st.text(max_size=300)


@st.composite
def enrichments(draw: Any) -> Enrichment:
    made = Enrichment(
        received_at_ns=draw(st.integers(0, 2**63 - 1)),
        effective_status=draw(st.sampled_from([0, 1, 3, 4, 99, -1])),
        topic=draw(st.sampled_from(["chaukas.events.raw", "x", "é" * 100])),
        partition=draw(st.integers(0, 2**31 - 1)),
        offset=draw(st.one_of(st.integers(0, 300), st.integers(0, 2**53))),
        content_sha256=draw(st.binary(min_size=32, max_size=32)),
        canonical_sha256=draw(st.binary(min_size=32, max_size=32)),
    )
    made.clock_skew_ms = draw(st.none() | doubles)
    made.duration_ms = draw(st.none() | doubles)
    made.start_event_id = draw(st.just("") | text)
    made.resend_of = draw(st.none() | st.integers(0, 2**53))
    if made.resend_of is None:
        made.conflicts_with = draw(st.none() | st.integers(0, 2**53))
    made.cost_usd = draw(st.none() | doubles)
    made.price_table = "genai-prices 1.2.3" if made.cost_usd is not None else ""
    made.redacted = tuple(draw(st.lists(text, max_size=3)))
    made.redaction_version = draw(st.just("") | text)
    if draw(st.booleans()):
        lost = Recovered(mcp_server_name=draw(text), tool_name=draw(text), model=draw(text), mcp_method=draw(text))
        made.recovered = lost if lost.ByteSize() else None
    return made


def as_message(made: Enrichment) -> enrichment_pb2.Enrichment:
    message = enrichment_pb2.Enrichment(
        received_at_ns=made.received_at_ns,
        clock_skew_ms=made.clock_skew_ms,
        effective_status=made.effective_status,
        duration_ms=made.duration_ms,
        start_event_id=made.start_event_id,
        recovered=made.recovered,
        resend_of=made.resend_of,
        conflicts_with=made.conflicts_with,
        content_sha256=made.content_sha256,
        canonical_sha256=made.canonical_sha256,
        cost_usd=made.cost_usd,
        price_table=made.price_table,
        redacted=made.redacted,
        redaction_version=made.redaction_version,
    )
    message.raw.topic, message.raw.partition, message.raw.offset = made.topic, made.partition, made.offset
    return message


def as_struct(made: Enrichment) -> struct_pb2.Struct:
    """The documented keys, through the Struct API."""
    seconds, nanos = divmod(made.received_at_ns, 10**9)
    fields: dict[str, Any] = {
        "received_at": datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{nanos:09d}Z",
        "clock_skew_ms": made.clock_skew_ms,
        "effective_status": status_name(made.effective_status),
        "duration_ms": made.duration_ms,
        "start_event_id": made.start_event_id or None,
        "resend_of": made.resend_of,
        "conflicts_with": made.conflicts_with,
        "raw": {"topic": made.topic, "partition": made.partition, "offset": made.offset},
        "content_sha256": made.content_sha256.hex(),
        "cost_usd": made.cost_usd,
        "redacted": list(made.redacted) or None,
        "redaction_version": made.redaction_version or None,
    }
    if made.recovered is not None:
        fields["recovered"] = {field.name: value for field, value in made.recovered.ListFields()}
    struct = struct_pb2.Struct()
    struct.update({"chaukas.gateway": {name: value for name, value in fields.items() if value is not None}})
    return struct


@given(enrichments())
def test_the_extension_is_what_the_struct_api_writes(made: Enrichment) -> None:
    wanted = any_pb2.Any(
        type_url="type.googleapis.com/google.protobuf.Struct",
        value=as_struct(made).SerializeToString(deterministic=True),
    )
    event = pb.Event(extensions=[wanted])
    assert extension.encode(made) == event.SerializeToString(deterministic=True)


@given(enrichments())
def test_the_header_is_what_the_message_writes(made: Enrichment) -> None:
    assert made.serialize() == as_message(made).SerializeToString(deterministic=True)


@given(
    st.integers(EARLIEST_NS, 2**63 - 1),
    st.one_of(st.integers(0, 300), st.integers(0, 2**53)),
    st.sampled_from(["chaukas.events.raw", "100 %b of %", "é" * 100]),
    st.integers(0, 2**31 - 1),
    st.sampled_from([0, 1, 3, 4, 37, 99, -1]),
    doubles,
    st.none() | st.builds(Pairing, text.filter(bool), doubles, st.none()),
    st.none() | doubles,
)
def test_both_forms_at_once_are_the_same_bytes(
    received_at_ns: int,
    offset: int,
    topic: str,
    partition: int,
    status: int,
    skew_ms: float,
    pairing: Pairing | None,
    cost: float | None,
) -> None:
    record = raw_record(pb.Event(event_id="e", tenant_id="t"), offset, topic=topic, partition=partition)
    record.headers[4] = ("received_at_ns", str(received_at_ns).encode())
    event = read(record)
    made = Enrichment(
        received_at_ns=received_at_ns,
        effective_status=status,
        topic=topic,
        partition=partition,
        offset=offset,
        content_sha256=event.content_sha256,
        canonical_sha256=event.canonical_sha256,
        clock_skew_ms=skew_ms,
    )
    if pairing is not None:
        made.start_event_id, made.duration_ms, _ = pairing
    if cost is not None:
        made.cost_usd, made.price_table = cost, PRICE_TABLE
    assert common_forms(event, status, skew_ms, pairing, cost) == (made.serialize(), extension.encode(made))


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers(number: int) -> None:
    message = enrichment_pb2.Enrichment(resend_of=number)
    assert b"\x38" + int64(number) == message.SerializeToString()


@given(st.integers(0, 2**64 - 1))
def test_varints_of_any_size(number: int) -> None:
    decoded = 0
    encoded = varint(number)
    for place, byte in enumerate(encoded):
        decoded |= (byte & 0x7F) << (7 * place)
        assert bool(byte & 0x80) == (place < len(encoded) - 1)
    assert decoded == number


def test_a_forged_extension_stays_and_ours_is_last() -> None:
    forged = struct_pb2.Struct()
    forged.update({"chaukas.gateway": {"effective_status": "EVENT_STATUS_COMPLETED"}})
    sent = pb.Event(event_id="e")
    sent.extensions.add().Pack(forged)
    made = Enrichment(
        received_at_ns=1,
        effective_status=4,
        topic="t",
        partition=1,
        offset=2,
        content_sha256=bytes(32),
        canonical_sha256=bytes(32),
    )
    received = pb.Event.FromString(sent.SerializeToString() + extension.encode(made))
    assert received.extensions[0] == sent.extensions[0]
    ours = struct_pb2.Struct()
    assert received.extensions[-1].Unpack(ours)
    read: Any = ours["chaukas.gateway"]
    assert read["effective_status"] == "EVENT_STATUS_FAILED"
    assert read["raw"]["offset"] == 2


def test_rfc3339_keeps_every_nanosecond() -> None:
    assert extension.rfc3339(1_750_000_000_000_000_001) == "2025-06-15T15:06:40.000000001Z"
    assert extension.rfc3339(2**63 - 1) == "2262-04-11T23:47:16.854775807Z"
