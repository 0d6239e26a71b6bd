from __future__ import annotations

from collections import Counter

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb

from cli.demo.session import DemoFailed, send_session
from cli.render.tree import build
from tests.unit.cli.demo.conftest import HttpDoor, Told


def test_everything_arrives_with_the_key_and_leaves_nothing_behind(told: Told) -> None:
    assert [event.event_id for event in told.door.events] == list(told.sent.event_ids)
    assert told.door.keys == {"Bearer ck_demo"}
    assert {(event.tenant_id, event.project_id, event.session_id) for event in told.events} == {
        ("t", "p", told.sent.session_id)
    }
    assert told.environment_after == told.environment_before


def test_the_story_shows_what_the_product_is_for(told: Told) -> None:
    kinds = Counter(pb.EventType.Name(event.type).removeprefix("EVENT_TYPE_") for event in told.events)
    assert kinds["AGENT_HANDOFF"] == 2
    assert kinds["MCP_CALL_START"] - kinds["MCP_CALL_END"] == 1
    for kind in ("ERROR", "RETRY", "POLICY_DECISION", "DATA_ACCESS", "STATE_UPDATE", "OUTPUT_EMITTED", "TOOL_CALL_END"):
        assert kinds[kind] >= 1, kind
    first, *_, last = told.events
    assert (first.type, last.type) == (pb.EVENT_TYPE_INPUT_RECEIVED, pb.EVENT_TYPE_SESSION_END)
    handoffs = [event.agent_handoff for event in told.events if event.HasField("agent_handoff")]
    assert (handoffs[0].from_agent_id, handoffs[0].to_agent_id) == (handoffs[1].to_agent_id, handoffs[1].from_agent_id)
    failed = [event for event in told.events if event.type == pb.EVENT_TYPE_MCP_CALL_END and event.HasField("error")]
    assert len(failed) == 1
    assert not failed[0].HasField("mcp_call")  # the oneof: what the processors have to recover
    assert all(e.llm_invocation.total_tokens for e in told.events if e.type == pb.EVENT_TYPE_MODEL_INVOCATION_END)


def test_the_session_is_one_tree_without_strays(told: Told) -> None:
    (session,) = build(told.events).nodes
    assert session.kind == "session"
    assert [node.actor for node in session.children if node.kind == "agent"] == ["triage", "billing", "triage"]
    assert {node.kind for node in session.children} == {"input received", "agent"}
    open_ones = [node.text for node, _, _ in build(told.events).walk() if node.is_open]
    assert open_ones == ["ledger-mcp post_entry"]


async def test_a_gateway_that_refuses_at_first_gets_the_session_later(door: HttpDoor) -> None:
    door.refusals = 2
    sent = await send_session(door.endpoints())
    assert sorted(event.event_id for event in door.events) == sorted(sent.event_ids)


async def test_no_gateway_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(seconds: float) -> None:
        """Waits of the story and between flushes take no time here."""

    monkeypatch.setattr("cli.demo.session.asyncio.sleep", at_once)
    endpoints = HttpDoor(url="http://127.0.0.1:1").endpoints()
    with pytest.raises(DemoFailed, match=r"127\.0\.0\.1:1: Failed to send events: .*[Cc]onnect"):
        await send_session(endpoints)
