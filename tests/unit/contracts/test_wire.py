"""The slicer against protobuf itself: upb is the oracle."""

from __future__ import annotations

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1.server_pb2 import IngestEventBatchRequest, IngestEventRequest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.wire import (
    TooManyEvents,
    WireError,
    frame_batch,
    parse_events,
    parseable,
    slice_batch,
    slice_single,
    without_unparseable_fields,
)
from tests.support.deep_event import deep_event
from tests.support.events import event


def varint(value: int, width: int = 0) -> bytes:
    """`width` pads it to so many bytes, which protobuf calls overlong and reads all the same."""
    out = bytearray()
    while value >= 0x80 or len(out) + 1 < width:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, wire: int, value: bytes, tag_width: int = 0, size_width: int = 0) -> bytes:
    tag = varint(number << 3 | wire, tag_width)
    if wire == 2:
        value = varint(len(value), size_width) + value
    return tag + value


widths = st.sampled_from([0, 0, 0, 2, 5])
numbers = st.sampled_from([1, 2, 3, 4, 5, 10, 11, 12, 15, 16, 536870911])


@st.composite
def messages(draw: st.DrawFn, depth: int = 3) -> bytes:
    """Bytes that are mostly sound framing, with known numbers in wrong wire types, groups and overlong varints."""
    out = b""
    for _ in range(draw(st.integers(0, 4))):
        number = draw(numbers)
        wire = draw(st.sampled_from([0, 1, 2, 2, 2, 3, 5] if depth else [0, 1, 2, 5]))
        if wire == 0:
            value = varint(draw(st.integers(0, 2**64 - 1)))
        elif wire == 1:
            value = draw(st.binary(min_size=8, max_size=8))
        elif wire == 5:
            value = draw(st.binary(min_size=4, max_size=4))
        elif wire == 2:
            value = draw(messages(depth - 1) if depth and draw(st.booleans()) else st.binary(max_size=12))
        else:
            value = draw(messages(depth - 1)) + varint(number << 3 | 4)
        out += field(number, wire, value, draw(widths), draw(widths))
    return out


def real_request(seed: int) -> bytes:
    batch = pb.EventBatch(batch_id=f"b{seed}", events=[event(event_id=f"e{i}", agent_id="a" * i) for i in range(3)])
    batch.timestamp.FromSeconds(seed)
    batch.metadata["k"] = "v"
    return bytes(IngestEventBatchRequest(event_batch=batch).SerializeToString())


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Real requests with bytes changed, cut, doubled and joined."""
    data = bytearray(real_request(draw(st.integers(0, 3))))
    for _ in range(draw(st.integers(0, 4))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.integers(0, 3)):
            case 0:
                data[at] = draw(st.integers(0, 255))
            case 1:
                del data[at : at + draw(st.integers(1, 8))]
            case 2:
                data[at:at] = draw(st.binary(max_size=6))
            case _:
                data += real_request(1)
    return bytes(data)


def check_batch(data: bytes) -> None:
    try:
        parsed = IngestEventBatchRequest.FromString(data).event_batch
    except DecodeError:
        parsed = None
    try:
        sliced = slice_batch(data)
    except WireError:
        assert parsed is None, "protobuf reads what the slicer refuses"
        return
    events = parse_events(sliced.slices())
    if parsed is None:
        # Refused as a whole: then an event, or a field of the batch itself, must be what does not parse.
        try:
            sliced.shell()
        except WireError:
            return
        assert None in events, "the slicer reads what protobuf refuses"
        return
    assert [e.SerializeToString(deterministic=True) for e in events if e is not None] == [
        e.SerializeToString(deterministic=True) for e in parsed.events
    ]
    assert sliced.shell().batch_id == parsed.batch_id


@settings(max_examples=1500, deadline=None)
@given(st.one_of(messages().map(lambda m: field(1, 2, m)), messages(), mutated(), st.binary(max_size=40)))
@example(b"\x8a\x80\x80\x80\x00\x00")
@example(b"\x8a\x80\x80\x80\x10\x00")
@example(b"\x13\x00\x00\x14")
@example(b"\x13\x06\x14")
@example(b"\x0a\x02\x1b\x1c")
@example(b"\x0a\x02\x1a\x02\x10\x01")
@example(b"\x0a\x03\x9a\x00\x02\x10\x01")
@example(b"\x0a\x02\x1a\x80")
@example(b"\x0a\x02\x1a\x80\x01")
@example(b"\x10" + b"\xff" * 9 + b"\x7f")
def test_the_slicer_agrees_with_protobuf(data: bytes) -> None:
    check_batch(data)


@pytest.mark.parametrize("depth", [98, 99, 100, 101])
@pytest.mark.parametrize("inside", [False, True])
def test_groups_nest_as_deep_as_protobuf_allows(depth: int, inside: bool) -> None:
    groups = b"\x3b" * depth + b"\x3c" * depth
    check_batch(field(1, 2, groups) if inside else groups)


@settings(max_examples=600, deadline=None)
@given(st.one_of(messages().map(lambda m: field(1, 2, m)), messages(), st.binary(max_size=40)))
def test_the_single_event_is_what_protobuf_merges(data: bytes) -> None:
    try:
        parsed = IngestEventRequest.FromString(data)
    except DecodeError:
        parsed = None
    try:
        value = slice_single(data)
    except WireError:
        assert parsed is None
        return
    (alone,) = parse_events([value])
    if parsed is not None and alone is not None:
        assert alone.SerializeToString(deterministic=True) == parsed.event.SerializeToString(deterministic=True)
    elif parsed is None:
        assert alone is None


def test_repeated_batches_concatenate_their_events_and_the_last_id_wins() -> None:
    data = real_request(0) + real_request(1)
    sliced = slice_batch(data)
    assert len(sliced) == 6
    assert sliced.shell().batch_id == "b1"
    check_batch(data)


def test_repeated_events_merge() -> None:
    first = IngestEventRequest(event=event(event_id="one", agent_id="a")).SerializeToString()
    second = IngestEventRequest(event=pb.Event(event_id="two", tags=["x"])).SerializeToString()
    (merged,) = parse_events([slice_single(first + second)])
    assert merged == IngestEventRequest.FromString(first + second).event
    assert (merged.event_id, merged.agent_id) == ("two", "a")


def test_slices_are_the_clients_own_bytes_in_their_own_order_of_fields() -> None:
    odd = field(2, 2, b"t") + field(1, 2, b"e") + field(7, 0, b"\x01") + field(1000, 2, b"unknown")
    assert slice_batch(frame_batch([odd, odd])).slices() == [odd, odd]


@pytest.mark.parametrize("length", [0, 100, 126, 127, 128, 129, 255, 256, 16_000, 16_383, 16_384, 70_000, 2_100_000])
def test_events_of_every_size_are_cut_exactly(length: int) -> None:
    values = [field(1, 2, b"e" * length), field(1, 2, b"next")]
    request = IngestEventBatchRequest.FromString(frame_batch(values))
    assert [len(each.event_id) for each in request.event_batch.events] == [length, 4]
    assert slice_batch(request.SerializeToString()).slices() == [
        each.SerializeToString() for each in request.event_batch.events
    ]
    assert slice_batch(frame_batch(values)).slices() == values


def test_one_unparseable_event_costs_only_itself() -> None:
    good = event(event_id="good").SerializeToString()
    bad = field(1, 2, b"\xff")
    assert [e and e.event_id for e in parse_events([good, bad, good])] == ["good", None, "good"]


def test_an_event_nested_deeper_than_a_page_of_answers_allows_does_not_parse() -> None:
    value = b""
    for _ in range(33):
        value = field(1, 2, field(2, 2, field(5, 2, value)))
    assert parse_events([field(90, 2, value)]) == [None]


@settings(deadline=None)
@given(st.lists(messages() | st.sampled_from([b"", b"\xff", deep_event("deep").SerializeToString()]), max_size=200))
def test_parseable_is_what_parses(values: list[bytes]) -> None:
    assert parseable(values) == [event is not None for event in parse_events(values)]


def test_large_events_are_looked_at_one_by_one() -> None:
    large = event(event_id="large", tags=["x" * 200_000]).SerializeToString()
    assert parseable([large, b"\xff", large, large]) == [True, False, True, True]


def test_of_an_event_that_is_too_deep_only_the_deep_field_is_left_out() -> None:
    deep = deep_event("deep")
    group = b"\x8b\x01" * 99 + b"\x8c\x01" * 99  # unknown, and as deep
    kept, left_out = without_unparseable_fields(deep.SerializeToString() + group)
    assert left_out == [pb.Event.DESCRIPTOR.fields_by_name["metadata"].number, 17]
    deep.ClearField("metadata")
    assert parse_events([kept]) == [deep]


@settings(deadline=None)
@given(messages())
def test_what_parses_keeps_all_its_fields(value: bytes) -> None:
    if parseable([value]) == [True]:
        assert without_unparseable_fields(value) == (value, [])


def test_counting_stops_at_the_limit() -> None:
    data = frame_batch([b""] * 5)
    assert len(slice_batch(data, 5)) == 5
    with pytest.raises(TooManyEvents):
        slice_batch(data, 4)
    with pytest.raises(TooManyEvents):
        slice_batch(data[:-2] + b"\xff\xff", 3)


@pytest.mark.parametrize(
    "data", [b"\x0a", b"\x0a\x05abc", b"\x0c", b"\x0e", b"\x00", b"\x0a\x02\x1a\x05", b"\xff" * 11]
)
def test_broken_framing_is_an_error(data: bytes) -> None:
    with pytest.raises(WireError):
        slice_batch(data)
