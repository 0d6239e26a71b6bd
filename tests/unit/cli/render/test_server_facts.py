from __future__ import annotations

from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from google.protobuf import any_pb2, struct_pb2

from cli.render.server_facts import ServerFacts, read
from cli.render.summary import summary
from tests.support.events import event


def extension(facts: dict[str, Any]) -> any_pb2.Any:
    struct = struct_pb2.Struct()
    struct.update({"chaukas.gateway": facts})
    packed = any_pb2.Any()
    packed.Pack(struct)
    return packed


FACTS = {
    "effective_status": "EVENT_STATUS_FAILED",
    "duration_ms": 12.5,
    "cost_usd": 0.002,
    "recovered": {"mcp_server_name": "payments", "mcp_operation": "refund"},
}


def test_the_server_s_facts() -> None:
    made = event(
        pb.EVENT_TYPE_MCP_CALL_END, extensions=[extension(FACTS)], error=pb.ErrorInfo(error_message="slow down")
    )
    facts = read(made)
    assert facts == ServerFacts(
        pb.EVENT_STATUS_FAILED, 12.5, 0.002, {"mcp_server_name": "payments", "mcp_operation": "refund"}
    )
    assert summary(made, facts) == "payments refund · slow down · $0.0020"


def test_only_the_last_extension_is_the_server_s() -> None:
    forged = extension(FACTS | {"duration_ms": 999})
    assert read(event(extensions=[forged, extension({"duration_ms": 1})])).duration_ms == 1
    unrelated = any_pb2.Any(type_url="type.example/some.Thing", value=b"\xff")
    assert read(event(extensions=[forged, unrelated])).duration_ms is None


@pytest.mark.parametrize(
    "last",
    [
        any_pb2.Any(type_url="type.googleapis.com/google.protobuf.Struct", value=b"\xff\xff"),
        any_pb2.Any(),
        extension({"duration_ms": "soon", "effective_status": "NO_SUCH", "recovered": 7, "cost_usd": float("nan")}),
    ],
)
def test_unreadable_facts_leave_the_client_s_own(last: any_pb2.Any) -> None:
    assert read(event(extensions=[last], status=pb.EVENT_STATUS_COMPLETED)) == ServerFacts(pb.EVENT_STATUS_COMPLETED)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"message": pb.MessageContent(text="hi\nthere")}, "“hi there”"),
        ({"tool_call": pb.ToolCall(function_name="f")}, "f"),
        ({"tool_response": pb.ToolResponse(error_message="no")}, "no"),
        (
            {"llm_invocation": pb.LLMInvocation(provider="p", model="m", prompt_tokens=1200, completion_tokens=3)},
            "p/m · 1,200 → 3 tokens",
        ),
        ({"llm_invocation": pb.LLMInvocation(model="m", total_tokens=9)}, "m · 9 tokens"),
        ({"policy": pb.PolicyDecision(policy_id="p", outcome="deny", rationale="why")}, "p · deny · why"),
        ({"data_access": pb.DataAccess(datasource="crm", chunk_ids=["a", "b"])}, "crm · 2 documents"),
        ({"error": pb.ErrorInfo(error_code="E", error_message="m")}, "E · m"),
        ({"agent_handoff": pb.AgentHandoff(from_agent_id="a", to_agent_name="B")}, "a → B"),
        ({"mcp_call": pb.MCPCall(server_name="s", operation="o")}, "s o"),
        ({"retry": pb.RetryInfo(attempt=2, strategy="fixed", backoff_ms=1500)}, "attempt 2 · fixed · after 1.50 s"),
        ({"state_update": {"a": "x", "b": 2, "c": True, "d": {}}}, "a = x, b = 2, c = true, d"),
        ({"metadata": {"message": "started"}}, "started"),
        ({}, ""),
    ],
)
def test_summaries(fields: dict[str, Any], text: str) -> None:
    assert summary(event(pb.EVENT_TYPE_SYSTEM, **fields), ServerFacts()) == text
