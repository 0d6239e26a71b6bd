"""The window's promise: an output is a pure function of a record and of the 2W before it, and it is the right one.

Random traffic with few ids, sessions, spans and agents, so that everything collides: copies, conflicts, re-used spans, ENDs
before STARTs, equal ids in two tenants, gaps in the offsets, bad records in between.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from chaukas.spec.common.v1 import events_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.redaction import parse_rules
from contracts.topics import Topics
from contracts.v1 import enrichment_pb2
from processors import emit, mcp_calls
from processors.intake import BadRecord, RawRecord
from processors.pipeline import Output, PartitionState, process, process_all
from processors.rebuild import rebuild
from processors.redact import Redactor
from processors.window import Window
from tests.support.enrichment_oracle import expected
from tests.support.events import START_NS
from tests.support.raw_records import RECEIVED_NS, raw_record

TYPES = [
    pb.EVENT_TYPE_MCP_CALL_START,
    pb.EVENT_TYPE_MCP_CALL_START,
    pb.EVENT_TYPE_MCP_CALL_END,
    pb.EVENT_TYPE_MCP_CALL_END,
    pb.EVENT_TYPE_TOOL_CALL_START,
    pb.EVENT_TYPE_TOOL_CALL_END,
    pb.EVENT_TYPE_MODEL_INVOCATION_START,
    pb.EVENT_TYPE_MODEL_INVOCATION_END,
    pb.EVENT_TYPE_AGENT_HANDOFF,
    pb.EVENT_TYPE_AGENT_HANDOFF,
    pb.EVENT_TYPE_AGENT_START,
    pb.EVENT_TYPE_SESSION_END,
    pb.EVENT_TYPE_INPUT_RECEIVED,
    77,
]
AGENTS = ["", "a", "b"]


def random_event(rng: random.Random) -> Any:
    event = pb.Event(
        event_id=f"e{rng.randrange(60)}",
        tenant_id=rng.choice(["t1", "t1", "t1", "t2"]),
        project_id=rng.choice(["", "", "", "p"]),
        session_id=rng.choice(["s", "s", "s", "s", "s", ""]),
        span_id=rng.choice(["x", "x", "y", ""]),
        type=rng.choice(TYPES),
        agent_id=rng.choice(AGENTS),
        agent_name=rng.choice(["", "Ann", "Bob"]),
        status=rng.choice([0, 0, 0, 3, 4, 5, 9]),
        severity=rng.choice([0, 0, 4]),
    )
    if rng.random() < 0.7:
        event.timestamp.FromNanoseconds(START_NS + rng.randint(-(10**12), 10**12))
    value = pb.EventType.DESCRIPTOR.values_by_number.get(event.type)
    name = value.name if value else ""
    content = rng.randrange(4)
    if content == 0:
        event.error.error_message = "boom"
    elif "MCP" in name:
        event.mcp_call.server_name = rng.choice(["", "files", "mail"])
        event.mcp_call.execution_time_ms = rng.choice([0.0, 1.5])
        event.mcp_call.request.update({"a": 1, "b": rng.randrange(3)})
    elif "MODEL" in name:
        event.llm_invocation.provider, event.llm_invocation.model = "acme", "m1"
    elif "TOOL" in name:
        event.tool_call.name = "lookup"
        if content == 1:
            event.tool_response.error_message = "no"
    elif event.type == pb.EVENT_TYPE_AGENT_HANDOFF:
        event.agent_handoff.to_agent_id = rng.choice(AGENTS)
        event.agent_handoff.to_agent_name = rng.choice(["", "Ann", "Bob"])
    return event


def random_partition(seed: int) -> list[RawRecord]:
    """A partition's records: new events, exact copies of earlier ones, bad ones; offsets with gaps."""
    rng = random.Random(seed)
    records: list[RawRecord] = []
    good: list[RawRecord] = []
    offset = rng.randrange(5)
    for _ in range(rng.randint(20, 80)):
        dice = rng.random()
        if dice < 0.04:
            records.append(RawRecord("raw", 0, offset, b"k", b"\xff\xffjunk", [], 1))
        else:
            if dice < 0.15 and good:
                copied = rng.choice(good[-25:])
                record = RawRecord("raw", 0, offset, copied.key, copied.value, copied.headers, offset)
            else:
                record = raw_record(random_event(rng), offset, received_at_ns=RECEIVED_NS + offset)
            good.append(record)
            records.append(record)
        offset += rng.choice([1, 1, 1, 1, 1, 1, 2, 4])
    return records


class Sent:
    """Keeps what is sent, as bytes."""

    def __init__(self) -> None:
        self.records: list[tuple[Any, ...]] = []

    def send(self, topic: str, value: Any, key: Any = None, *, timestamp_ms: int = 0, headers: Any = None) -> None:
        self.records.append((topic, value, key, timestamp_ms, tuple(headers or ())))


def run(state: PartitionState, records: Sequence[RawRecord]) -> dict[int, list[tuple[Any, ...]]]:
    """What is emitted for each offset."""
    out: dict[int, list[tuple[Any, ...]]] = {}
    for record in records:
        sent = Sent()
        try:
            emit.emit(sent, Topics(), record, process(state, record))
        except BadRecord as bad:
            emit.emit_dead_letter(sent, Topics(), record, bad)
        out[record.offset] = sent.records
    return out


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 25), st.integers(1, 50))
def test_many_at_a_time_are_as_one_by_one(seed: int, window: int, cut: int) -> None:
    records = random_partition(seed)
    wanted = run(PartitionState(Window(window)), records)
    state = PartitionState(Window(window))
    found: dict[int, list[tuple[Any, ...]]] = {}
    for batch in (records[:cut], records[cut:]):
        for record, output in process_all(state, batch):
            sent = Sent()
            if isinstance(output, BadRecord):
                emit.emit_dead_letter(sent, Topics(), record, output)
            else:
                emit.emit(sent, Topics(), record, output)
            found[record.offset] = sent.records
    assert found == wanted
    assert list(found) == [record.offset for record in records]
    assert state.next_offset == records[-1].offset + 1


def header_of(output: Output) -> enrichment_pb2.Enrichment:
    name, value = output.enriched.headers[-1]
    assert name == "enrichment"
    assert isinstance(value, bytes)
    parsed = enrichment_pb2.Enrichment.FromString(value)
    assert parsed.SerializeToString(deterministic=True) == value
    return parsed


def reader(records: Sequence[RawRecord]) -> Any:
    def read(topic: str, partition: int, start: int, end: int) -> Iterator[RawRecord]:
        return (record for record in records if start <= record.offset < end)

    return read


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 25))
def test_a_restart_at_any_offset_changes_no_byte(seed: int, window: int) -> None:
    records = random_partition(seed)
    uninterrupted = run(PartitionState(Window(window)), records)
    for cut in range(len(records)):
        first = records[cut].offset
        state, _ = rebuild(reader(records), "raw", 0, first, Window(window), lambda: None)
        after = run(state, records[cut:])
        assert after == {offset: out for offset, out in uninterrupted.items() if offset >= first}


RULES = """
version: 1
tenants:
  t1:
    rules:
      - {name: words, patterns: ['files|boom|Ann'], action: hash}
      - {name: all, paths: ['$.llm_invocation', '$..b', '$.tool_call.name'], action: mask}
      - {name: none, paths: ['$.mcp_call.request.a'], action: drop}
"""


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 25))
def test_a_restart_changes_no_byte_with_rules_either(seed: int, window: int) -> None:
    def redactor() -> Redactor:
        return Redactor(parse_rules(RULES), b"s" * 32)  # a new process reads the same file

    records = random_partition(seed)
    uninterrupted = run(PartitionState(Window(window), redactor().redact), records)
    for cut in range(len(records)):
        first = records[cut].offset
        state, _ = rebuild(reader(records), "raw", 0, first, Window(window), lambda: None, 0, redactor().redact)
        after = run(state, records[cut:])
        assert after == {offset: out for offset, out in uninterrupted.items() if offset >= first}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 25))
def test_rules_change_what_is_said_and_not_who_is_a_copy_of_whom(seed: int, window: int) -> None:
    records = random_partition(seed)
    plain, redacted = (
        PartitionState(Window(window)),
        PartitionState(Window(window), Redactor(parse_rules(RULES), b"s" * 32).redact),
    )
    for record in records:
        try:
            one, other = process(plain, record), process(redacted, record)
        except BadRecord:
            continue
        before, after = header_of(one), header_of(other)
        assert bool(after.redaction_version) == (dict(record.headers)["tenant_id"] == b"t1")
        if not after.redaction_version:
            assert other.enriched.value == one.enriched.value
            assert (other.handoffs, other.mcp_calls) == (one.handoffs, one.mcp_calls)
        for secret in (b"files", b"boom", b"acme"):
            assert not after.redaction_version or secret not in other.enriched.value
        facts: list[Any] = [*other.handoffs, *other.mcp_calls]
        for fact in facts:
            assert fact.tenant_id == "t2" or b"files" not in fact.SerializeToString()
            assert fact.tenant_id == "t2" or b"boom" not in fact.SerializeToString()
        for message in (before, after):
            for field in ("redacted", "redaction_version", "recovered", "cost_usd", "price_table"):
                message.ClearField(field)
        assert after == before
        assert [(f.call_id, f.status, f.revision) for f in other.mcp_calls] == [
            (f.call_id, f.status, f.revision) for f in one.mcp_calls
        ]
        assert [(f.handoff_id, f.revision, f.picked_up_event_id) for f in other.handoffs] == [
            (f.handoff_id, f.revision, f.picked_up_event_id) for f in one.handoffs
        ]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 25))
def test_outputs_are_what_the_rules_say(seed: int, window: int) -> None:
    records = random_partition(seed)
    state = PartitionState(Window(window))
    good = []
    outputs = {}
    for record in records:
        try:
            outputs[record.offset] = process(state, record)
            good.append(record)
        except BadRecord:
            assert record.key == b"k"
    wanted = expected(good, window, mcp_calls._NAMESPACE)
    assert outputs.keys() == wanted.keys()
    for offset, output in outputs.items():
        assert header_of(output) == wanted[offset].enrichment
        assert output.handoffs == wanted[offset].handoffs
        assert output.mcp_calls == wanted[offset].mcp_calls


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 25))
def test_the_enriched_value_is_the_raw_value_with_one_extension_more(seed: int, window: int) -> None:
    records = random_partition(seed)
    state = PartitionState(Window(window))
    for record in records:
        try:
            output = process(state, record)
        except BadRecord:
            continue
        assert record.value is not None
        assert output.enriched.value.startswith(record.value)
        before, after = pb.Event.FromString(record.value), pb.Event.FromString(output.enriched.value)
        assert len(after.extensions) == len(before.extensions) + 1
        del after.extensions[-1]
        assert after == before
        names = [name for name, _ in output.enriched.headers]
        assert names == [*(name for name, _ in record.headers), "enrichment"]
        assert "enrichment" not in names[:-1]
