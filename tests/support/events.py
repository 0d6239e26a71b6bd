"""Seeded events in the shapes the SDK sends: sessions of agents, models, tools, MCP calls and hand-offs."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator

from chaukas.spec.common.v1 import events_pb2 as pb

START_NS = 1_750_000_000_000_000_000


def event(
    event_type: int = pb.EVENT_TYPE_AGENT_START,
    *,
    tenant: str = "t",
    project: str = "p",
    session: str = "s",
    event_id: str = "",
    at_ns: int | None = START_NS,
    **fields: object,
) -> pb.Event:
    """One event; `at_ns` None leaves the timestamp out."""
    made = pb.Event(
        event_id=event_id or str(uuid.uuid4()),
        tenant_id=tenant,
        project_id=project,
        session_id=session,
        type=event_type,
        **fields,
    )
    if at_ns is not None:
        made.timestamp.FromNanoseconds(at_ns)
    return made


def without_ours(answered: pb.Event) -> pb.Event:
    """The client's own event out of an answer: without the extension that the server appended."""
    own = pb.Event()
    own.CopyFrom(answered)
    del own.extensions[-1]
    return own


def seeded_sessions(
    seed: int, sessions: int, *, tenant: str, project: str, start_ns: int = START_NS
) -> Iterator[list[pb.Event]]:
    """Whole sessions of 12 to 40 events, the same for the same seed. Times are 0.2 to 40 ms apart."""
    rng = random.Random(seed)
    for number in range(sessions):
        yield _session(rng, f"session-{seed}-{number}", tenant, project, start_ns + number * 10**9)


def _session(rng: random.Random, session: str, tenant: str, project: str, start_ns: int) -> list[pb.Event]:
    clock = start_ns
    made: list[pb.Event] = []

    def new_id() -> str:
        return str(uuid.UUID(int=rng.getrandbits(128), version=4))

    def add(event_type: int, agent: str = "", span: str = "", **fields: object) -> pb.Event:
        nonlocal clock
        clock += rng.randint(200_000, 40_000_000)
        ids = {"agent_id": agent, "agent_name": f"Agent {agent}" if agent else "", "span_id": span or new_id()}
        made.append(
            event(
                event_type,
                tenant=tenant,
                project=project,
                session=session,
                event_id=new_id(),
                at_ns=clock,
                trace_id=f"trace-{session}",
                tags=["env:test", f"kind:{rng.choice('abc')}"],
                **ids,
                **fields,
            )
        )
        return made[-1]

    def failed(end: pb.Event, message: str) -> None:
        end.error.error_message = message  # evicts the oneof's content, as the SDK does
        end.error.error_code = "E_TIMEOUT"
        end.severity = pb.SEVERITY_ERROR

    add(pb.EVENT_TYPE_INPUT_RECEIVED, message=pb.MessageContent(role="user", text="please refund order élan 42"))
    session_span = add(pb.EVENT_TYPE_SESSION_START).span_id
    agents = ["triage", "billing", "search"]
    current = agents[0]
    agent_span = add(pb.EVENT_TYPE_AGENT_START, current).span_id
    for _ in range(rng.randint(3, 9)):
        step = rng.choice(["model", "tool", "mcp", "handoff", "error"])
        if step == "model":
            call = pb.LLMInvocation(provider="openai", model="gpt-4o", prompt_tokens=rng.randint(10, 900))
            span = add(pb.EVENT_TYPE_MODEL_INVOCATION_START, current, llm_invocation=call).span_id
            call.completion_tokens = rng.randint(1, 300)
            call.total_tokens = call.prompt_tokens + call.completion_tokens
            add(pb.EVENT_TYPE_MODEL_INVOCATION_END, current, span, llm_invocation=call)
        elif step == "tool":
            tool = pb.ToolCall(id=new_id(), name="lookup_order", function_name="orders.lookup")
            tool.arguments.update({"order": "42", "deep": {"note": f"needle{rng.randint(0, 9)}"}})
            span = add(pb.EVENT_TYPE_TOOL_CALL_START, current, tool_call=tool).span_id
            response = pb.ToolResponse(tool_call_id=tool.id, execution_time_ms=rng.random() * 50)
            if rng.random() < 0.2:
                response.error_message = "order not found"
            add(pb.EVENT_TYPE_TOOL_CALL_END, current, span, tool_response=response)
        elif step == "mcp":
            mcp = pb.MCPCall(server_name=rng.choice(["payments", "files"]), operation="tools/call", method="POST")
            mcp.request.update({"amount": rng.randint(1, 99)})
            span = add(pb.EVENT_TYPE_MCP_CALL_START, current, mcp_call=mcp).span_id
            outcome = rng.random()
            if outcome < 0.7:
                mcp.execution_time_ms = rng.random() * 40
                mcp.response.update({"ok": True})
                add(pb.EVENT_TYPE_MCP_CALL_END, current, span, mcp_call=mcp)
            elif outcome < 0.85:
                failed(add(pb.EVENT_TYPE_MCP_CALL_END, current, span), "payments timed out")
        elif step == "handoff":
            target = rng.choice([name for name in agents if name != current])
            handoff = pb.AgentHandoff(
                from_agent_id=current,
                from_agent_name=f"Agent {current}",
                to_agent_id=target,
                to_agent_name=f"Agent {target}",
                reason="needs another skill",
                handoff_type="sequential",
            )
            add(pb.EVENT_TYPE_AGENT_HANDOFF, current, agent_handoff=handoff)
            add(pb.EVENT_TYPE_AGENT_END, current, agent_span)
            current = target
            agent_span = add(pb.EVENT_TYPE_AGENT_START, current).span_id
        else:
            info = pb.ErrorInfo(error_message="rate limited", error_code="429", recoverable=True)
            add(pb.EVENT_TYPE_ERROR, current, error=info, severity=pb.SEVERITY_ERROR)
            add(pb.EVENT_TYPE_RETRY, current, retry=pb.RetryInfo(attempt=1, strategy="exponential", backoff_ms=100))
    add(pb.EVENT_TYPE_AGENT_END, current, agent_span)
    add(pb.EVENT_TYPE_OUTPUT_EMITTED, message=pb.MessageContent(role="assistant", text="done"))
    add(pb.EVENT_TYPE_SESSION_END, "", session_span)
    return made
