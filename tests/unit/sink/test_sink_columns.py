"""The fast way from records to rows against the plain one: whatever the bytes, the same rows and the same bad records."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from google.protobuf import struct_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.dead_letters import SourceRecord
from sink import rows
from sink.event_rows import SCHEMA, Mapped
from sink.parsed_rows import map_singly
from sink.rows import map_events
from sink.search_text import STRUCT_TEXT_MAX_BYTES
from sink.times import MAX_NS, MIN_NS, OVERFLOW_NS, Buckets, buckets
from sink.wire_view import RefusedBatch, parse
from tests.support.any_message import any_message
from tests.support.events import event, seeded_sessions
from tests.support.sink_records import enriched_record

#: A field 30 (message), whose length is 2**64 - 1.
HOSTILE_LENGTH = b"\xf2\x01" + b"\xff" * 9 + b"\x01"


def record_of(made: pb.Event, offset: int = 0, **found: Any) -> SourceRecord:
    made.event_id, made.tenant_id = made.event_id or "e", made.tenant_id or "t"
    return enriched_record(made, offset=offset, **found)


def with_value(record: SourceRecord, value: bytes) -> SourceRecord:
    return record._replace(value=value)


def compared(mapped: Mapped) -> list[dict[str, Any]]:
    """The rows as Python values; NaN would equal nothing, and the words of the text have no order."""
    table = mapped.table
    found = []
    for number in range(table.num_rows):
        row = {}
        for name in SCHEMA.names:
            value = table.column(name)[number]
            row[name] = value.value if name in ("ts", "received_at") else value.as_py()
        row["search_text"] = sorted(row["search_text"].split())
        found.append(row)
    return found


def assert_same(records: list[SourceRecord], *, more_text: bool = False) -> None:
    """`more_text`: bytes no encoder writes, of which the columns may find text that a later field shadows."""
    fast, plain = map_events(records), map_singly(records)
    assert fast.table.schema == SCHEMA
    assert [id(record) for record in fast.rows] == [id(record) for record in plain.rows]
    assert sorted((id(record), str(error)) for record, error in fast.bad) == sorted(
        (id(record), str(error)) for record, error in plain.bad
    )
    assert sorted(id(record.source) for record in fast.marked) == sorted(id(record.source) for record in plain.marked)
    for ours, theirs in zip(compared(fast), compared(plain), strict=True):
        if more_text:
            assert set(ours.pop("search_text")) >= set(theirs.pop("search_text"))
        assert ours == theirs


RECOVERED = st.none() | st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(["", "x"]) for name in ("mcp_server_name", "model", "tool_name")}
)
TOLD = st.fixed_dictionaries(
    {}, optional={"cost_usd": st.floats(0, 9), "duration_ms": st.floats(-9, 9), "effective_status": st.integers(0, 9)}
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(any_message(pb.Event), TOLD, RECOVERED), min_size=1, max_size=3))
def test_any_event(made: list[tuple[pb.Event, dict[str, Any], dict[str, Any] | None]]) -> None:
    records = []
    for number, (one, told, recovered) in enumerate(made):
        records.append(record_of(one, number, **told, **({} if recovered is None else {"recovered": recovered})))
    assert_same(records)


def mutated(rng: random.Random, values: list[bytes]) -> bytes:
    """One of `values`, with bytes changed, left out or put in, or another one behind it."""
    kind, value = rng.random(), bytearray(rng.choice(values))
    if kind < 0.25:
        return bytes(value) + rng.choice(values)
    if kind < 0.35:
        return bytes(value) + rng.choice(values)[: rng.randrange(400)]
    for _ in range(rng.randrange(1, 4)):
        place, change = rng.randrange(len(value)), rng.random()
        if change < 0.7:
            value[place] = rng.randrange(256)
        elif change < 0.85:
            del value[place]
        else:
            value.insert(place, rng.randrange(256))
    return bytes(value)


@pytest.mark.parametrize("seed", range(6))
def test_broken_and_doubled_bytes(seed: int) -> None:
    rng = random.Random(seed)
    originals = [made for session in seeded_sessions(seed, 8, tenant="t", project="p") for made in session]
    originals += map(deep_event, range(10))
    values = [made.SerializeToString() for made in originals]
    records = []
    for number in range(400):
        value = mutated(rng, values)
        try:
            parsed = pb.Event.FromString(value)
        except Exception:
            parsed = rng.choice(originals)
        if not (parsed.event_id and parsed.tenant_id):
            continue
        records.append(with_value(record_of(event(event_id=parsed.event_id, tenant=parsed.tenant_id), number), value))
    for start in range(0, len(records), 20):
        assert_same(records[start : start + 20], more_text=True)
    assert map_events(records).bad
    assert map_events(records).rows


def nested(depth: int, word: str) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update({"n": 1, "text": f"{word}{depth}", "list": [True, f"{word}item{depth}", [f"{word}inner{depth}"]]})
    if depth:
        made.fields["deeper"].struct_value.CopyFrom(nested(depth - 1, word))
    return made


def deep_event(depth: int) -> pb.Event:
    call = pb.MCPCall(server_name="files", operation="read")
    call.request.CopyFrom(nested(depth, "ask"))
    call.response.CopyFrom(nested(depth // 2, "told"))
    return event(mcp_call=call, agent_name="Agent")


def test_text_at_any_depth() -> None:
    assert_same([record_of(deep_event(depth), depth) for depth in range(12)])
    (row,) = compared(map_events([record_of(deep_event(11))]))
    assert {"ask0", "askitem0", "askinner0", "ask11", "told5"} <= set(row["search_text"])


def test_long_text_is_cut_at_the_same_place() -> None:
    made = struct_pb2.Struct()
    made.update({f"key{number:04}": f"{number} " * 20 for number in range(2_000)})
    records = [record_of(event(state_update=made)), record_of(event(agent_name="short"), 1)]
    assert_same(records)
    assert len(map_events(records).table.column("search_text")[0].as_py()) > STRUCT_TEXT_MAX_BYTES - 100


def test_of_two_arms_on_the_wire_the_last_one_counts() -> None:
    value = event(event_id="e", tool_call=pb.ToolCall(name="first")).SerializeToString()
    value += pb.Event(mcp_call=pb.MCPCall(server_name="last")).SerializeToString()
    between = [record_of(event(agent_name=str(number)), number) for number in range(3)]
    records = [between[0], with_value(record_of(event(event_id="e"), 9), value), *between[1:]]
    assert_same(records)
    assert map_events(records).table.column("mcp_server").to_pylist() == ["", "last", "", ""]
    assert map_events(records).table.column("tool_name").to_pylist() == ["", "", "", ""]


@pytest.mark.parametrize("nanos", [-1, 1_000_000_000, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("seconds", [0, -(2**63), 2**63 - 1, 9_223_372_036, 9_223_372_035, -2_208_988_800])
def test_times_out_of_range(seconds: int, nanos: int) -> None:
    made = event()
    made.timestamp.seconds, made.timestamp.nanos = seconds, nanos
    plain = event()
    plain.timestamp.seconds = seconds
    assert_same([record_of(made), record_of(plain, 1)])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 1)), min_size=1))
def test_partitions(times: list[tuple[int, int]]) -> None:
    pairs = [(min(max(ts, MIN_NS), MAX_NS), received) for ts, received in times]
    pairs += [(min(received + OVERFLOW_NS, MAX_NS), received) for _, received in pairs]
    one = Buckets()
    found = buckets(np.array([ts for ts, _ in pairs]), np.array([received for _, received in pairs]))
    assert found.tolist() == [one.bucket(*pair) for pair in pairs]


def test_a_length_that_panics_in_the_parser_is_a_refused_batch_and_costs_no_other_record() -> None:
    with pytest.raises(RefusedBatch):
        parse([event().SerializeToString(), HOSTILE_LENGTH])
    good = [record_of(event(event_id=str(number)), number) for number in range(3)]
    assert_same([good[0], with_value(good[1], HOSTILE_LENGTH), good[2]])


def test_a_batch_that_only_the_fast_parser_refuses_is_mapped_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(values: list[bytes]) -> Any:
        raise RefusedBatch("")

    records = [record_of(event(event_id=str(number)), number) for number in range(3)]
    wanted = compared(map_events(records))
    monkeypatch.setattr(rows, "wire_columns", refuse)
    assert compared(map_events(records)) == wanted


def test_text_that_is_no_text_in_a_field_no_column_reads_is_bad() -> None:
    value = event(event_id="e").SerializeToString() + b"\xaa\x01\x02\xff\xfe"  # field 21, branch
    records = [with_value(record_of(event(event_id="e")), value), record_of(event(event_id="x"), 1)]
    assert_same(records)
    assert len(map_events(records).bad) == 1
