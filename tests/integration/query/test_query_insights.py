"""Hand-offs and MCP calls on the real engine against a naive model."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.common.v1.query_pb2 import SORT_ORDER_ASC, QueryFilter, TimeRange
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import InvalidInput, PermissionDenied
from contracts.identity import Identity
from contracts.v1 import facts_pb2, insights_pb2
from contracts.v1.facts_pb2 import HandoffFact, McpCallFact
from sink.query.engine import Deadline, Engine
from sink.query.handoffs import HandoffQueries
from sink.query.mcp_calls import McpQueries
from sink.query.pages import TokenCodec
from sink.store import Store
from tests.support.stored import clear, insert_handoffs, insert_mcp_calls

CALLER = Identity("t", None, frozenset())
CODEC = TokenCodec(b"k" * 32)
MS = 1_000_000

quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def soon() -> Deadline:
    return Deadline.after(30)


def set_ns(message: Any, field: str, nanoseconds: int) -> None:
    stamp = getattr(message, field)
    stamp.seconds, stamp.nanos = divmod(nanoseconds, 10**9)


def ns(stamp: Any) -> int:
    return int(stamp.seconds) * 10**9 + int(stamp.nanos)


# --- hand-offs ---------------------------------------------------------------------------------------------------------

AGENTS = st.sampled_from([("a", "Ada"), ("b", "Bob"), ("", "Ada"), ("", "Cy"), ("a", ""), ("", ""), ("Ada", "x")])


@st.composite
def handoffs(draw: st.DrawFn) -> list[HandoffFact]:
    """Facts as the topic has them: revision 1, some of them again with their pick-up."""
    found = []
    for offset in range(draw(st.integers(1, 12))):
        (from_id, from_name), (to_id, to_name) = draw(AGENTS), draw(AGENTS)
        fact = HandoffFact(
            handoff_id=f"h{offset}",
            tenant_id=draw(st.sampled_from(["t", "t", "t", "u"])),
            project_id=draw(st.sampled_from(["p", "q"])),
            session_id=draw(st.sampled_from(["", "s1", "s2"])),
            from_agent_id=from_id,
            from_agent_name=from_name,
            to_agent_id=to_id,
            to_agent_name=to_name,
            revision=1,
        )
        fact.source.topic, fact.source.partition, fact.source.offset = "raw", draw(st.integers(0, 1)), offset
        set_ns(fact, "handed_off_at", draw(st.integers(0, 5)) * 10**9)
        found.append(fact)
        latency = draw(st.none() | st.integers(-2, 6))
        if latency is not None:
            picked = HandoffFact()
            picked.CopyFrom(fact)
            picked.revision, picked.latency_ms = 2, latency
            set_ns(picked, "picked_up_at", ns(fact.handed_off_at) + latency * MS)
            found.append(picked)
    draw(st.randoms(use_true_random=False)).shuffle(found)
    return found


def surviving(found: Sequence[HandoffFact]) -> list[HandoffFact]:
    best: dict[str, HandoffFact] = {}
    for fact in found:
        if fact.handoff_id not in best or fact.revision > best[fact.handoff_id].revision:
            best[fact.handoff_id] = fact
    return list(best.values())


def same_agent(one: tuple[str, str], other: tuple[str, str]) -> bool:
    if one[0] and other[0]:
        return one[0] == other[0]
    return bool(one[1]) and one[1] == other[1]


def with_hops(found: Sequence[HandoffFact]) -> list[HandoffFact]:
    """Sets hop and returns_to_earlier_agent by looking back through each session."""
    sessions: defaultdict[tuple[str, ...], list[HandoffFact]] = defaultdict(list)
    for fact in found:
        own = fact.handoff_id if not fact.session_id else ""
        sessions[fact.tenant_id, fact.project_id, fact.session_id, own].append(fact)
    for session in sessions.values():
        session.sort(key=lambda fact: (ns(fact.handed_off_at), fact.source.offset, fact.source.partition))
        seen: list[tuple[str, str]] = []
        for hop, fact in enumerate(session, 1):
            target = (fact.to_agent_id, fact.to_agent_name)
            fact.hop = hop
            fact.returns_to_earlier_agent = any(same_agent(target, agent) for agent in seen)
            seen += [(fact.from_agent_id, fact.from_agent_name), target]
    return list(itertools.chain(*sessions.values()))


RANGES = st.tuples(st.none() | st.integers(0, 6), st.none() | st.integers(0, 6))


def time_range(bounds: tuple[int | None, int | None]) -> TimeRange:
    made = TimeRange()
    if bounds[0] is not None:
        set_ns(made, "start", bounds[0] * 10**9)
    if bounds[1] is not None:
        set_ns(made, "end", bounds[1] * 10**9)
    return made


def within(at_ns: int, bounds: tuple[int | None, int | None]) -> bool:
    start, end = bounds
    return (start is None or at_ns >= start * 10**9) and (end is None or at_ns < end * 10**9)


def quantile(values: Sequence[float], level: float) -> float:
    return sorted(values)[min(int(level * len(values)), len(values) - 1)]


@quick
@given(handoffs(), RANGES, st.sampled_from(["", "s1"]), st.booleans(), st.integers(1, 4))
def test_hand_offs_have_the_hops_of_the_whole_session(
    store: Store,
    engine: Engine,
    found: list[HandoffFact],
    bounds: tuple[int | None, int | None],
    session: str,
    ascending: bool,
    size: int,
) -> None:
    clear(store)
    half = len(found) // 2
    for part in (found[:half], found[half:]):
        if part:
            insert_handoffs(store, part)

    async def read() -> list[HandoffFact]:
        listed: list[HandoffFact] = []
        request = insights_pb2.ListHandoffsRequest(page_size=size, order_by_time=SORT_ORDER_ASC if ascending else 0)
        request.filter.CopyFrom(QueryFilter(session_id=session, time=time_range(bounds)))
        while True:
            data = await HandoffQueries(engine, CODEC).list_handoffs(CALLER, request, soon())
            answer = insights_pb2.ListHandoffsResponse.FromString(data)
            assert len(answer.handoffs) <= size
            listed.extend(answer.handoffs)
            if not answer.next_page_token:
                return listed
            assert len(answer.handoffs) == size
            request.page_token = answer.next_page_token

    expected = [
        fact
        for fact in with_hops(surviving(found))
        if fact.tenant_id == "t" and session in ("", fact.session_id) and within(ns(fact.handed_off_at), bounds)
    ]
    expected.sort(
        key=lambda fact: (ns(fact.handed_off_at), fact.source.offset, fact.source.partition), reverse=not ascending
    )
    assert asyncio.run(read()) == expected


@quick
@given(handoffs(), RANGES)
def test_hand_off_statistics_agree_with_a_recount(
    store: Store, engine: Engine, found: list[HandoffFact], bounds: tuple[int | None, int | None]
) -> None:
    clear(store)
    insert_handoffs(store, found)
    edges: defaultdict[tuple[str, ...], list[HandoffFact]] = defaultdict(list)
    for fact in with_hops(surviving(found)):
        if fact.tenant_id == "t" and within(ns(fact.handed_off_at), bounds):
            ends = []
            for agent_id, name in (
                (fact.from_agent_id, fact.from_agent_name),
                (fact.to_agent_id, fact.to_agent_name),
            ):
                ends += [agent_id, "" if agent_id else name]
            edges[tuple(ends)].append(fact)

    request = insights_pb2.GetHandoffStatsRequest(time_range=time_range(bounds))
    data = asyncio.run(HandoffQueries(engine, CODEC).get_handoff_stats(CALLER, request, soon()))
    answer = insights_pb2.GetHandoffStatsResponse.FromString(data)
    assert len(answer.edges) == len(edges)
    assert [edge.count for edge in answer.edges] == sorted((edge.count for edge in answer.edges), reverse=True)
    for edge in answer.edges:
        key = (
            edge.from_agent_id,
            "" if edge.from_agent_id else edge.from_agent_name,
            edge.to_agent_id,
            "" if edge.to_agent_id else edge.to_agent_name,
        )
        facts = edges[key]
        assert edge.count == len(facts)
        assert edge.loops == sum(fact.returns_to_earlier_agent for fact in facts)
        latencies = [fact.latency_ms for fact in facts if fact.HasField("latency_ms")]
        assert edge.HasField("p50_latency_ms") == bool(latencies)
        if latencies:
            shown = (edge.p50_latency_ms, edge.p95_latency_ms, edge.p99_latency_ms)
            assert shown == tuple(quantile(latencies, level) for level in (0.5, 0.95, 0.99))


# --- MCP calls ---------------------------------------------------------------------------------------------------------


@st.composite
def mcp_calls(draw: st.DrawFn) -> list[McpCallFact]:
    found = []
    for number in range(draw(st.integers(1, 14))):
        status = draw(st.integers(1, 4))
        call = McpCallFact(
            call_id=f"c{number}",
            tenant_id=draw(st.sampled_from(["t", "t", "t", "u"])),
            project_id=draw(st.sampled_from(["p", "q"])),
            session_id=draw(st.sampled_from(["", "s1"])),
            agent_id=draw(st.sampled_from(["", "a"])),
            server_name=draw(st.sampled_from(["files", "Pay"])),
            operation=draw(st.sampled_from(["", "tools/call"])),
            status=facts_pb2.McpCallStatus.Name(status),
            error_message=draw(st.sampled_from(["", "timed out", "Über limit"])),
            revision={1: 1, 4: 2}.get(status, 3),
            request_bytes=number,
        )
        started = draw(st.integers(0, 5)) * 10**9
        if status != facts_pb2.MCP_CALL_STATUS_ORPHAN_END:
            set_ns(call, "started_at", started)
            call.start_source.topic, call.start_source.offset = "raw", number
        if status != facts_pb2.MCP_CALL_STATUS_OPEN:
            set_ns(call, "ended_at", started + 10**9)
            call.end_source.topic, call.end_source.offset = "raw", number + 100
        for field in ("measured_ms", "reported_ms"):
            value = draw(st.none() | st.sampled_from([-3.5, 0.0, 1.25, 10.0, math.nan]))
            if value is not None:
                setattr(call, field, value)
        found.append(call)
        if status not in (1, 4):  # the fact of its START came before
            opened = McpCallFact()
            opened.CopyFrom(call)
            for field in ("ended_at", "end_source", "measured_ms", "reported_ms", "error_message"):
                opened.ClearField(field)
            opened.status, opened.revision = facts_pb2.MCP_CALL_STATUS_OPEN, 1
            found.append(opened)
    draw(st.randoms(use_true_random=False)).shuffle(found)
    return found


def ranked(found: Sequence[McpCallFact]) -> list[McpCallFact]:
    best: dict[tuple[str, str, str], McpCallFact] = {}
    for call in found:
        key = (call.tenant_id, call.project_id, call.call_id)
        if key not in best or call.revision > best[key].revision:
            best[key] = call
    return list(best.values())


def at_ns(call: McpCallFact) -> int:
    return ns(call.ended_at if call.status == facts_pb2.MCP_CALL_STATUS_ORPHAN_END else call.started_at)


MCP_STATUSES = {
    pb.EVENT_STATUS_STARTED: facts_pb2.MCP_CALL_STATUS_OPEN,
    pb.EVENT_STATUS_COMPLETED: facts_pb2.MCP_CALL_STATUS_OK,
    pb.EVENT_STATUS_FAILED: facts_pb2.MCP_CALL_STATUS_ERROR,
}
TEXTS = {"": set(), "TIMED": {"timed out"}, "über": {"Über limit"}, "ber": set[str]()}


@quick
@given(
    mcp_calls(),
    RANGES,
    st.lists(st.sampled_from([*MCP_STATUSES, pb.EVENT_STATUS_CANCELLED]), max_size=2),
    st.sampled_from(sorted(TEXTS)),
    st.booleans(),
    st.integers(1, 4),
)
def test_mcp_calls_are_listed_in_pages(
    store: Store,
    engine: Engine,
    found: list[McpCallFact],
    bounds: tuple[int | None, int | None],
    statuses: list[int],
    text: str,
    ascending: bool,
    size: int,
) -> None:
    clear(store)
    half = len(found) // 2
    for part in (found[:half], found[half:]):
        if part:
            insert_mcp_calls(store, part)

    async def read() -> list[McpCallFact]:
        listed: list[McpCallFact] = []
        request = insights_pb2.ListMcpCallsRequest(page_size=size, order_by_time=SORT_ORDER_ASC if ascending else 0)
        request.filter.CopyFrom(QueryFilter(statuses=statuses, text_query=text, time=time_range(bounds)))
        while True:
            data = await McpQueries(engine, CODEC).list_mcp_calls(CALLER, request, soon())
            answer = insights_pb2.ListMcpCallsResponse.FromString(data)
            listed.extend(answer.calls)
            if not answer.next_page_token:
                return listed
            assert len(answer.calls) == size
            request.page_token = answer.next_page_token

    expected = [
        call
        for call in ranked(found)
        if call.tenant_id == "t"
        and within(at_ns(call), bounds)
        and (not statuses or call.status in {MCP_STATUSES.get(status) for status in statuses})
        and (not text or call.error_message in TEXTS[text])
    ]
    expected.sort(key=lambda call: (at_ns(call), call.call_id, call.project_id), reverse=not ascending)
    # NaN is not equal to itself: compare what is on the wire.
    assert [call.SerializeToString() for call in asyncio.run(read())] == [call.SerializeToString() for call in expected]


@quick
@given(mcp_calls(), RANGES)
def test_mcp_statistics_agree_with_a_recount(
    store: Store, engine: Engine, found: list[McpCallFact], bounds: tuple[int | None, int | None]
) -> None:
    clear(store)
    insert_mcp_calls(store, found)
    servers: defaultdict[tuple[str, str], list[McpCallFact]] = defaultdict(list)
    for call in ranked(found):
        if call.tenant_id == "t" and within(at_ns(call), bounds):
            servers[call.server_name, call.operation].append(call)

    request = insights_pb2.GetMcpStatsRequest(time_range=time_range(bounds))
    data = asyncio.run(McpQueries(engine, CODEC).get_mcp_stats(CALLER, request, soon()))
    answer = insights_pb2.GetMcpStatsResponse.FromString(data)
    assert {(server.server_name, server.operation) for server in answer.servers} == set(servers)
    for server in answer.servers:
        calls = servers[server.server_name, server.operation]
        assert server.calls == len(calls)
        assert server.errors == sum(call.status == facts_pb2.MCP_CALL_STATUS_ERROR for call in calls)
        assert server.open == sum(call.status == facts_pb2.MCP_CALL_STATUS_OPEN for call in calls)
        times = [
            call.measured_ms if call.HasField("measured_ms") else call.reported_ms
            for call in calls
            if call.HasField("measured_ms") or call.HasField("reported_ms")
        ]
        times = [value for value in times if math.isfinite(value)]
        assert server.HasField("p50_ms") == bool(times)
        if times:
            shown = (server.p50_ms, server.p95_ms, server.p99_ms)
            assert shown == tuple(quantile(times, level) for level in (0.5, 0.95, 0.99))


# --- rules -------------------------------------------------------------------------------------------------------------


async def test_filters_that_do_not_apply_are_refused(engine: Engine) -> None:
    handoff = insights_pb2.ListHandoffsRequest(filter=QueryFilter(statuses=[4], tags=["x"]))
    with pytest.raises(InvalidInput, match=r"filter\.statuses.*filter\.tags"):
        await HandoffQueries(engine, CODEC).list_handoffs(CALLER, handoff, soon())
    call = insights_pb2.ListMcpCallsRequest(filter=QueryFilter(types=[1], severities=[4]))
    with pytest.raises(InvalidInput, match=r"filter\.types.*filter\.severities"):
        await McpQueries(engine, CODEC).list_mcp_calls(CALLER, call, soon())


async def test_the_agent_filter_finds_source_and_target(store: Store, engine: Engine) -> None:
    facts = []
    for offset, (source, target) in enumerate([("a", "b"), ("b", "c"), ("c", "a"), ("b", "c")]):
        fact = HandoffFact(
            handoff_id=f"h{offset}", tenant_id="t", from_agent_id=source, to_agent_id=target, session_id="s", revision=1
        )
        fact.source.offset = offset
        set_ns(fact, "handed_off_at", offset)
        facts.append(fact)
    insert_handoffs(store, facts)
    request = insights_pb2.ListHandoffsRequest(filter=QueryFilter(agent_id="a"))
    data = await HandoffQueries(engine, CODEC).list_handoffs(CALLER, request, soon())
    listed = insights_pb2.ListHandoffsResponse.FromString(data).handoffs
    assert [(fact.handoff_id, fact.hop, fact.returns_to_earlier_agent) for fact in listed] == [
        ("h2", 3, True),
        ("h0", 1, False),
    ]


async def test_facts_of_others_are_not_shown(store: Store, engine: Engine) -> None:
    call = McpCallFact(call_id="c", tenant_id="t", project_id="p", status="MCP_CALL_STATUS_OPEN", revision=1)
    set_ns(call, "started_at", 1)
    insert_mcp_calls(store, [call])
    queries = McpQueries(engine, CODEC)
    for caller, count in (
        (CALLER, 1),
        (Identity("t", frozenset({"p"}), frozenset()), 1),
        (Identity("t", frozenset({"q"}), frozenset()), 0),
        (Identity("u", None, frozenset()), 0),
    ):
        listed = await queries.list_mcp_calls(caller, insights_pb2.ListMcpCallsRequest(), soon())
        assert len(insights_pb2.ListMcpCallsResponse.FromString(listed).calls) == count
        counted = await queries.get_mcp_stats(caller, insights_pb2.GetMcpStatsRequest(), soon())
        assert len(insights_pb2.GetMcpStatsResponse.FromString(counted).servers) == count
    with pytest.raises(PermissionDenied):
        await queries.get_mcp_stats(CALLER, insights_pb2.GetMcpStatsRequest(tenant_id="u"), soon())


async def test_a_range_cuts_what_is_counted_not_what_is_remembered(store: Store, engine: Engine) -> None:
    """The return to `a` is a loop because of a hand-off before the range."""
    facts = []
    for offset, (source, target) in enumerate([("a", "b"), ("b", "a")]):
        fact = HandoffFact(
            handoff_id=f"h{offset}", tenant_id="t", from_agent_id=source, to_agent_id=target, session_id="s", revision=1
        )
        fact.source.offset = offset
        set_ns(fact, "handed_off_at", offset * 10**9)
        facts.append(fact)
    insert_handoffs(store, facts)
    later = time_range((1, None))
    data = await HandoffQueries(engine, CODEC).get_handoff_stats(
        CALLER, insights_pb2.GetHandoffStatsRequest(time_range=later), soon()
    )
    (edge,) = insights_pb2.GetHandoffStatsResponse.FromString(data).edges
    assert (edge.from_agent_id, edge.to_agent_id, edge.count, edge.loops) == ("b", "a", 1, 1)
    request = insights_pb2.ListHandoffsRequest(filter=QueryFilter(time=later))
    data = await HandoffQueries(engine, CODEC).list_handoffs(CALLER, request, soon())
    (listed,) = insights_pb2.ListHandoffsResponse.FromString(data).handoffs
    assert (listed.hop, listed.returns_to_earlier_agent) == (2, True)
