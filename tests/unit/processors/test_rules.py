"""The rules of docs/processing.md one by one, in small stories: what a reader would otherwise have to dig out of the oracle."""

from __future__ import annotations

from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from google.protobuf import struct_pb2

from contracts.dead_letters import Reason
from contracts.v1 import enrichment_pb2, facts_pb2
from processors import pipeline
from processors.intake import BadRecord
from processors.pipeline import Output, PartitionState, process
from processors.window import Window
from tests.support.events import START_NS, event
from tests.support.raw_records import RECEIVED_NS, raw_record

MS = 1_000_000
W = 10


class Story:
    """Feeds events to one partition, one offset each."""

    def __init__(self, window: int = W) -> None:
        self.state = PartitionState(Window(window))
        self.offset = 0

    def tell(self, sent: Any, *, skip: int = 0, value: bytes | None = None) -> Output:
        self.offset += 1 + skip
        return process(self.state, raw_record(sent, self.offset, value=value))


def enrichment(output: Output) -> enrichment_pb2.Enrichment:
    value = output.enriched.headers[-1][1]
    assert isinstance(value, bytes)
    return enrichment_pb2.Enrichment.FromString(value)


def extension(output: Output) -> Any:
    struct = struct_pb2.Struct()
    assert pb.Event.FromString(output.enriched.value).extensions[-1].Unpack(struct)
    return struct["chaukas.gateway"]


def start(kind: str = "MCP_CALL", span: str = "x", **fields: Any) -> Any:
    return event(pb.EventType.Value(f"EVENT_TYPE_{kind}_START"), span_id=span, **fields)


def end(kind: str = "MCP_CALL", span: str = "x", at_ns: int | None = START_NS + 25 * MS, **fields: Any) -> Any:
    return event(pb.EventType.Value(f"EVENT_TYPE_{kind}_END"), span_id=span, at_ns=at_ns, **fields)


FAMILIES = ["SESSION", "AGENT", "MODEL_INVOCATION", "TOOL_CALL", "MCP_CALL"]


# ---------------------------------------------------------------- pairs


@pytest.mark.parametrize("kind", FAMILIES)
def test_an_end_gets_duration_and_start(kind: str) -> None:
    story = Story()
    begun = start(kind)
    assert not enrichment(story.tell(begun)).HasField("duration_ms")
    found = enrichment(story.tell(end(kind)))
    assert found.duration_ms == 25.0
    assert found.start_event_id == begun.event_id


def test_an_end_before_its_start_has_no_duration() -> None:
    story = Story()
    assert not enrichment(story.tell(end())).HasField("duration_ms")
    assert not enrichment(story.tell(start())).HasField("duration_ms")


def test_families_do_not_mix() -> None:
    story = Story()
    story.tell(start("TOOL_CALL"))
    assert enrichment(story.tell(end("MCP_CALL"))).start_event_id == ""


@pytest.mark.parametrize(
    "other",
    [{"tenant": "t2"}, {"project": "p2"}, {"session": "s2"}, {"span": "y"}],
    ids=lambda value: next(iter(value)),
)
def test_an_equal_span_elsewhere_is_another_span(other: dict[str, Any]) -> None:
    story = Story()
    story.tell(start(**other))
    assert enrichment(story.tell(end())).start_event_id == ""


@pytest.mark.parametrize("empty", [{"session": ""}, {"span": ""}], ids=lambda value: next(iter(value)))
def test_an_empty_session_or_span_never_pairs(empty: dict[str, Any]) -> None:
    story = Story()
    story.tell(start(**empty))
    output = story.tell(end(**empty))
    assert enrichment(output).start_event_id == ""
    assert output.mcp_calls[0].status == facts_pb2.MCP_CALL_STATUS_ORPHAN_END


def test_of_two_starts_the_nearest_counts() -> None:
    story = Story()
    story.tell(start(at_ns=START_NS))
    second = start(at_ns=START_NS + 5 * MS)
    story.tell(second)
    found = enrichment(story.tell(end()))
    assert (found.start_event_id, found.duration_ms) == (second.event_id, 20.0)


def test_a_second_end_pairs_with_the_same_start() -> None:
    story = Story()
    story.tell(start())
    story.tell(end())
    assert enrichment(story.tell(end(at_ns=START_NS + 30 * MS))).duration_ms == 30.0


@pytest.mark.parametrize(("skip", "known"), [(W - 1, True), (W, False)])
def test_what_lies_further_back_is_not_known(skip: int, known: bool) -> None:
    story = Story()
    story.tell(start())
    output = story.tell(end(), skip=skip)
    assert enrichment(output).HasField("duration_ms") is known
    assert story.state.spans.misses == (0 if known else 1)
    assert output.mcp_calls[0].revision == (3 if known else 2)


def test_clocks_that_disagree_give_a_negative_duration() -> None:
    story = Story()
    story.tell(start())
    assert enrichment(story.tell(end(at_ns=START_NS - MS))).duration_ms == -1.0


def test_extreme_legal_times_do_not_overflow() -> None:
    story = Story()
    early, late = start(at_ns=None), end(at_ns=None)
    early.timestamp.seconds = -62_135_596_800
    late.timestamp.seconds, late.timestamp.nanos = 253_402_300_799, 999_999_999
    skew = enrichment(story.tell(early)).clock_skew_ms
    output = story.tell(late)
    assert skew > 6e13
    assert output.mcp_calls[0].measured_ms == pytest.approx(315_537_897_599_999.999999)
    assert output.mcp_calls[0].started_at.seconds == -62_135_596_800


# ---------------------------------------------------------------- status, skew, recovered


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (start("TOOL_CALL"), "EVENT_STATUS_STARTED"),
        (end("TOOL_CALL"), "EVENT_STATUS_COMPLETED"),
        (end("TOOL_CALL", severity=pb.SEVERITY_ERROR), "EVENT_STATUS_FAILED"),
        (end("TOOL_CALL", tool_response=pb.ToolResponse(error_message="no")), "EVENT_STATUS_FAILED"),
        (end("TOOL_CALL", tool_response=pb.ToolResponse(http_status=500)), "EVENT_STATUS_COMPLETED"),
        (end("AGENT", error=pb.ErrorInfo()), "EVENT_STATUS_FAILED"),
        (end("AGENT", error=pb.ErrorInfo(), status=pb.EVENT_STATUS_CANCELLED), "EVENT_STATUS_CANCELLED"),
        (start("AGENT", status=pb.EVENT_STATUS_IN_PROGRESS), "EVENT_STATUS_IN_PROGRESS"),
        (event(pb.EVENT_TYPE_ERROR, error=pb.ErrorInfo()), "EVENT_STATUS_UNSPECIFIED"),
        (event(pb.EVENT_TYPE_SYSTEM, status=pb.EVENT_STATUS_COMPLETED), "EVENT_STATUS_COMPLETED"),
        (event(999, status=77), "EVENT_STATUS_77"),
    ],
    ids=str,
)
def test_effective_status(sent: Any, status: str) -> None:
    assert extension(Story().tell(sent))["effective_status"] == status


def test_clock_skew_is_receipt_minus_timestamp_and_absent_without_one() -> None:
    with_timestamp = extension(Story().tell(event(at_ns=RECEIVED_NS - 1_500_000)))
    assert with_timestamp["clock_skew_ms"] == 1.5
    assert "clock_skew_ms" not in extension(Story().tell(event(at_ns=None)))


@pytest.mark.parametrize(
    ("kind", "content", "recovered"),
    [
        (
            "MCP_CALL",
            {"mcp_call": pb.MCPCall(server_name="files", server_url="u", operation="read", method="POST")},
            {"mcp_server_name": "files", "mcp_server_url": "u", "mcp_operation": "read", "mcp_method": "POST"},
        ),
        (
            "MODEL_INVOCATION",
            {"llm_invocation": pb.LLMInvocation(provider="openai", model="gpt-4o")},
            {"model_provider": "openai", "model": "gpt-4o"},
        ),
        (
            "TOOL_CALL",
            {"tool_call": pb.ToolCall(name="lookup", function_name="orders.lookup")},
            {"tool_name": "lookup", "function_name": "orders.lookup"},
        ),
    ],
)
def test_a_failed_end_recovers_what_error_evicted(kind: str, content: Any, recovered: dict[str, str]) -> None:
    story = Story()
    story.tell(start(kind, **content))
    output = story.tell(end(kind, error=pb.ErrorInfo(error_message="timeout")))
    assert dict(extension(output)["recovered"]) == recovered
    story.tell(start(kind, span="y", **content))
    assert "recovered" not in extension(story.tell(end(kind, span="y")))


# ---------------------------------------------------------------- copies


def test_copies_name_the_nearest_copy_and_make_no_facts() -> None:
    story = Story()
    sent = start(event_id="e")
    changed = start(event_id="e", agent_id="other")
    assert len(story.tell(sent).mcp_calls) == 1
    resend = story.tell(sent)
    assert enrichment(resend).resend_of == 1
    assert resend.mcp_calls == []
    conflict = story.tell(changed)
    assert enrichment(conflict).conflicts_with == 2
    assert not enrichment(conflict).HasField("resend_of")
    again = story.tell(changed)
    assert enrichment(again).resend_of == 3
    assert "resend_of" in extension(again)
    assert "conflicts_with" not in extension(again)


def test_equal_ids_of_two_tenants_are_two_events() -> None:
    story = Story()
    story.tell(start(event_id="e", tenant="t1"))
    assert not enrichment(story.tell(start(event_id="e", tenant="t2"))).HasField("conflicts_with")


def test_copies_beyond_the_window_are_unmarked_but_a_chain_of_copies_reaches_further() -> None:
    story = Story()
    sent = start(event_id="e")
    story.tell(sent)
    assert enrichment(story.tell(sent, skip=W - 1)).resend_of == 1
    assert enrichment(story.tell(sent, skip=W - 1)).resend_of == 1 + W  # every copy updates the index
    assert not enrichment(story.tell(sent, skip=W)).HasField("resend_of")


def test_a_marked_start_pairs_with_nothing() -> None:
    story = Story()
    story.tell(start(event_id="e", at_ns=START_NS))
    story.tell(start(event_id="e", at_ns=START_NS + 20 * MS))  # a conflict: not the START of record
    assert enrichment(story.tell(end())).duration_ms == 25.0


# ---------------------------------------------------------------- MCP calls


def test_a_call_opens_and_is_paired() -> None:
    story = Story()
    call = pb.MCPCall(server_name="files", operation="read")
    call.request.update({"path": "/a"})
    opened = story.tell(start(mcp_call=call, agent_id="a")).mcp_calls[0]
    assert (opened.status, opened.revision) == (facts_pb2.MCP_CALL_STATUS_OPEN, 1)
    assert not opened.HasField("measured_ms")
    call.ClearField("request")
    call.response.update({"ok": True})
    call.execution_time_ms = 7.5
    closed = story.tell(end(mcp_call=call)).mcp_calls[0]
    assert closed.call_id == opened.call_id
    assert (closed.status, closed.revision) == (facts_pb2.MCP_CALL_STATUS_OK, 3)
    assert (closed.measured_ms, closed.reported_ms) == (25.0, 7.5)
    assert closed.request_bytes == opened.request_bytes > 0
    assert closed.response_bytes == call.response.ByteSize()
    assert (closed.start_source.offset, closed.end_source.offset) == (1, 2)
    assert closed.agent_id == "a"


def test_a_failed_end_takes_server_and_operation_from_its_start() -> None:
    story = Story()
    story.tell(start(mcp_call=pb.MCPCall(server_name="files", operation="read")))
    fact = story.tell(end(error=pb.ErrorInfo(error_code="E1", error_message="timeout"))).mcp_calls[0]
    assert (fact.server_name, fact.operation) == ("files", "read")
    assert fact.status == facts_pb2.MCP_CALL_STATUS_ERROR
    assert (fact.error_code, fact.error_message) == ("E1", "timeout")
    assert not fact.HasField("reported_ms")


def test_an_end_first_is_an_orphan_until_its_start_comes() -> None:
    story = Story()
    orphan = story.tell(end()).mcp_calls[0]
    assert (orphan.status, orphan.revision) == (facts_pb2.MCP_CALL_STATUS_ORPHAN_END, 2)
    paired = story.tell(start()).mcp_calls[0]
    assert paired.call_id == orphan.call_id
    assert (paired.revision, paired.measured_ms) == (3, 25.0)


def test_a_reused_span_opens_a_new_call_under_the_same_id() -> None:
    story = Story()
    first = story.tell(start()).mcp_calls[0]
    story.tell(end())
    again = story.tell(start()).mcp_calls[0]
    assert again.call_id == first.call_id
    assert (again.status, again.revision) == (facts_pb2.MCP_CALL_STATUS_OPEN, 1)


def test_calls_without_a_span_are_named_by_their_event() -> None:
    story = Story()
    one = story.tell(start(span="", event_id="a")).mcp_calls[0]
    two = story.tell(start(span="", event_id="b")).mcp_calls[0]
    assert one.call_id != two.call_id
    other_tenant = Story().tell(start(span="", event_id="a", tenant="t2")).mcp_calls[0]
    assert other_tenant.call_id != one.call_id


# ---------------------------------------------------------------- hand-offs


def handoff(to_id: str = "b", to_name: str = "Bob", **fields: Any) -> Any:
    content = pb.AgentHandoff(
        from_agent_id="a",
        from_agent_name="Ann",
        to_agent_id=to_id,
        to_agent_name=to_name,
        reason="why",
        handoff_type="h",
    )
    return event(pb.EVENT_TYPE_AGENT_HANDOFF, agent_id="a", agent_name="Ann", agent_handoff=content, **fields)


def of_agent(agent_id: str = "b", agent_name: str = "Bob", at_ns: int = START_NS + 4 * MS, **fields: Any) -> Any:
    return event(pb.EVENT_TYPE_OUTPUT_EMITTED, agent_id=agent_id, agent_name=agent_name, at_ns=at_ns, **fields)


def test_a_handoff_is_published_whole_twice() -> None:
    story = Story()
    given = handoff()
    first = story.tell(given).handoffs[0]
    assert first.revision == 1
    assert not first.HasField("latency_ms")
    assert not first.HasField("picked_up_at")
    taker = of_agent()
    second = story.tell(taker).handoffs[0]
    assert (second.revision, second.latency_ms, second.picked_up_event_id) == (2, 4.0, taker.event_id)
    for name in ("revision", "latency_ms", "picked_up_event_id", "picked_up_at"):
        second.ClearField(name)
        first.ClearField(name)
    assert second == first
    assert first.handoff_id == given.event_id
    assert story.tell(of_agent()).handoffs == []


@pytest.mark.parametrize(
    ("given", "later", "picked"),
    [
        (handoff("b", "Bob"), of_agent("b", ""), True),
        (handoff("b", "Bob"), of_agent("b", "Other"), True),
        (handoff("b", "Bob"), of_agent("c", "Bob"), False),
        (handoff("b", "Bob"), of_agent("", "Bob"), True),
        (handoff("", "Bob"), of_agent("c", "Bob"), True),
        (handoff("", "Bob"), of_agent("b", ""), False),
        (handoff("", ""), of_agent("", ""), False),
        (handoff(), of_agent(session="s2"), False),
        (handoff(), of_agent(tenant="t2"), False),
        (handoff(session=""), of_agent(session=""), False),
    ],
)
def test_the_target_is_known_by_id_else_by_name(given: Any, later: Any, picked: bool) -> None:
    story = Story()
    story.tell(given)
    assert bool(story.tell(later).handoffs) is picked


def test_one_event_picks_up_every_handoff_to_its_agent() -> None:
    story = Story()
    one, two = story.tell(handoff()).handoffs[0], story.tell(handoff()).handoffs[0]
    assert [fact.handoff_id for fact in story.tell(of_agent()).handoffs] == [one.handoff_id, two.handoff_id]


def test_a_handoff_does_not_pick_itself_up_but_the_targets_next_handoff_does() -> None:
    story = Story()
    to_self = handoff(to_id="a", to_name="Ann")
    assert [fact.revision for fact in story.tell(to_self).handoffs] == [1]
    assert [fact.revision for fact in story.tell(handoff()).handoffs] == [2, 1]


@pytest.mark.parametrize(("skip", "picked"), [(W - 1, True), (W, False)])
def test_a_pick_up_beyond_the_window_is_not_known(skip: int, picked: bool) -> None:
    story = Story()
    story.tell(handoff())
    assert bool(story.tell(of_agent(), skip=skip).handoffs) is picked


def test_a_resent_event_picks_nothing_up() -> None:
    story = Story()
    taker = of_agent(event_id="taker")
    story.tell(taker)
    story.tell(handoff())
    assert story.tell(taker).handoffs == []


def test_long_text_is_cut_in_facts_and_whole_in_the_event() -> None:
    story = Story()
    given = handoff()
    given.agent_handoff.reason = "é" * 100_000
    output = story.tell(given)
    assert output.handoffs[0].reason == "é" * 8192
    assert pb.Event.FromString(output.enriched.value).agent_handoff.reason == "é" * 100_000


# ---------------------------------------------------------------- defects of ours


@pytest.mark.parametrize("step", ["pair", "handoffs", "mcp_calls", "enrich", "mark"])
def test_a_step_that_fails_costs_one_record_and_a_rebuild_agrees(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = getattr(pipeline, step)

    def fails_on_poison(*args: Any) -> Any:
        if any(str(getattr(argument, "event_id", "")).startswith("poison") for argument in args):
            raise ValueError("holds content")
        return real(*args)

    monkeypatch.setattr(pipeline, step, fails_on_poison)
    records = [
        raw_record(start(), 1),
        raw_record(end(event_id="poison1"), 2),
        raw_record(start(span="y"), 3),
        raw_record(end(), 4),
        raw_record(end(event_id="poison2"), 5),
    ]
    story, rebuilt = PartitionState(Window(W)), PartitionState(Window(W))
    for record in records:
        if b"poison" in (record.value or b""):
            with pytest.raises(BadRecord, match=r"^ValueError at test_rules\.py:\d+$") as caught:
                process(story, record)
            assert caught.value.reason is Reason.STEP_FAILED
        else:
            process(story, record)
    found = pipeline.remember_all(rebuilt, records, ids_only=False)
    assert [bad is not None for bad in found] == [step != "enrich" and number in (1, 4) for number in range(5)]
    together = PartitionState(Window(W))
    outputs = [output for _, output in pipeline.process_all(together, records)]
    assert [isinstance(output, BadRecord) for output in outputs] == [number in (1, 4) for number in range(5)]
    last = raw_record(end(span="y"), 6)
    values = [process(state, last).enriched.value for state in (story, rebuilt, together)]
    assert values == values[:1] * 3


def test_running_out_of_memory_is_not_the_records_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(pipeline, "pair", no_memory)
    with pytest.raises(MemoryError):
        Story().tell(start())
