"""The report over the real demo session, with the answers a gateway would give."""

from __future__ import annotations

import io
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from google.protobuf import any_pb2, struct_pb2
from rich.console import Console

from cli.client.connection import Connection
from cli.client.target import Target
from cli.demo import show as demo
from cli.demo.waiting import wait_for_session
from cli.stack.endpoints import Endpoints
from contracts.v1 import facts_pb2, insights_pb2
from tests.unit.cli.demo.conftest import Told
from tests.unit.cli.fake_gateway import KEY, UNAVAILABLE, FakeGateway, serving


def enriched(event: Any) -> Any:
    """The event with an extension as the processors append it."""
    made = pb.Event()
    made.CopyFrom(event)
    struct = struct_pb2.Struct()
    facts: dict[str, Any] = {"effective_status": pb.EventStatus.Name(event.status)}
    if event.type == pb.EVENT_TYPE_MODEL_INVOCATION_END:
        facts["cost_usd"] = 0.002
    struct.update({"chaukas.gateway": facts})
    holder = any_pb2.Any()
    holder.Pack(struct)
    made.extensions.append(holder)
    return made


def facts(events: list[Any]) -> tuple[list[facts_pb2.HandoffFact], list[facts_pb2.McpCallFact]]:
    handoffs: list[facts_pb2.HandoffFact] = []
    calls: dict[str, facts_pb2.McpCallFact] = {}
    for event in events:
        if event.HasField("agent_handoff"):
            handoff = event.agent_handoff
            fact = facts_pb2.HandoffFact(
                handoff_id=event.event_id,
                from_agent_name=handoff.from_agent_name,
                to_agent_name=handoff.to_agent_name,
                reason=handoff.reason,
                hop=len(handoffs) + 1,
                returns_to_earlier_agent=bool(handoffs),
                latency_ms=18.5,
            )
            fact.picked_up_at.CopyFrom(event.timestamp)
            handoffs.append(fact)
        elif event.type == pb.EVENT_TYPE_MCP_CALL_START:
            calls[event.span_id] = facts_pb2.McpCallFact(call_id=event.span_id, started_at=event.timestamp)
        elif event.type == pb.EVENT_TYPE_MCP_CALL_END:
            calls[event.span_id].ended_at.CopyFrom(event.timestamp)
    return handoffs, list(calls.values())


SERVERS = [
    insights_pb2.McpServerStats(server_name="ledger-mcp", operation="post_entry", calls=1, open=1),
    insights_pb2.McpServerStats(server_name="payments-mcp", operation="refund", calls=2, errors=1, p50_ms=70.5),
]


@pytest.fixture
def gateway(told: Told) -> Any:
    with serving() as fake:
        fake.events = [enriched(event) for event in told.events]
        fake.handoffs, fake.calls = facts(told.events)
        fake.servers = SERVERS
        yield fake


@pytest.fixture
def printed(told: Told, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`run` against the fake, the session already told: whether it was complete, and the text."""

    async def already_told(endpoints: Endpoints) -> Any:
        return told.sent

    monkeypatch.setattr(demo, "send_session", already_told)
    endpoints = Endpoints("http://127.0.0.1:8080", gateway.endpoint, KEY, "t", "p", "127.0.0.1:9092")

    def show(width: int = 100, within_seconds: float = 5.0) -> tuple[bool, str]:
        file = io.StringIO()
        complete = demo.run(endpoints, Console(width=width, file=file, highlight=False), within_seconds)
        return complete, file.getvalue()

    return show


def test_the_report_is_one_screen_that_tells_the_story(printed: Any) -> None:
    complete, text = printed()
    assert complete
    lines = text.splitlines()
    assert len(lines) <= 70
    assert max(len(line) for line in lines if not line.startswith("export ")) <= 100
    for expected in (
        "34 events went SDK → HTTP → Kafka → Faust → ClickHouse",
        "├─ agent triage",
        "│  ├─ model openai/gpt-4o-mini · 412 → 38 tokens · $0.0020",
        "│  ├─ mcp payments-mcp refund · rate limited by the provider",
        "│  ├─ mcp ledger-mcp post_entry",
        "│  ├─ model anthropic/claude-haiku-4-5 · 1,286 → 94 tokens · $0.0020",
        "no end",
        "↺ loop",
        "18 ms",
        "50 %",
        "3 model calls, 2,332 → 203 tokens, $0.0060",
        "34 events in 1 session",
        "http://127.0.0.1:8080",
        "export CHAUKAS_ENDPOINT=http://127.0.0.1:8080",
        f"export CHAUKAS_API_KEY={KEY}",
    ):
        assert expected in text, f"{expected!r} is not in\n{text}"


def test_the_lines_to_paste_are_never_broken(printed: Any) -> None:
    _, text = printed(width=40)
    assert f"export CHAUKAS_API_KEY={KEY}" in text.splitlines()


def test_mcp_statistics_are_asked_for_the_session_s_time_only(told: Told, printed: Any, gateway: FakeGateway) -> None:
    printed()
    (request,) = [request for method, request in gateway.requests if method == "GetMcpStats"]
    assert request.time_range.start == told.events[0].timestamp
    assert request.time_range.end.ToNanoseconds() == told.events[-1].timestamp.ToNanoseconds() + 1


def test_what_did_not_come_out_is_said(printed: Any, gateway: FakeGateway) -> None:
    del gateway.events[5:8]
    complete, text = printed(within_seconds=0)
    assert not complete
    assert "3 of 34 events cannot be seen yet" in text
    assert "export CHAUKAS_ENDPOINT" in text


def test_a_gateway_that_cannot_be_asked_is_said_and_the_exports_are_there(printed: Any, gateway: FakeGateway) -> None:
    gateway.failures = [UNAVAILABLE] * 10
    complete, text = printed(within_seconds=0)
    assert not complete
    assert "The demo session was sent, but cannot be asked for: UNAVAILABLE: Kafka does not answer" in text
    assert "export CHAUKAS_ENDPOINT" in text


def test_waiting_goes_on_until_events_and_facts_are_there(told: Told, gateway: FakeGateway) -> None:
    late_events, gateway.events = gateway.events, gateway.events[:10]
    late_handoffs, gateway.handoffs = gateway.handoffs, []
    late_calls, gateway.calls = gateway.calls, gateway.calls[:-1]
    gateway.failures = [UNAVAILABLE]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        arrivals = {2: ("events", late_events), 3: ("handoffs", late_handoffs), 4: ("calls", late_calls)}
        if len(slept) in arrivals:
            setattr(gateway, *arrivals[len(slept)])

    with Connection(Target(gateway.endpoint, KEY)) as connection:
        arrived, complete = wait_for_session(
            connection,
            told.sent.session_id,
            frozenset(told.sent.event_ids),
            60.0,
            sleep=sleep,
            clock=lambda: sum(slept),
        )
    assert complete
    assert len(slept) == 4
    assert len(arrived.events) == len(told.sent.event_ids)
