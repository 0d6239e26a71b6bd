"""MCP calls: one :class:`McpCallFact` per MCP_CALL_START and per MCP_CALL_END, the highest revision of a call wins.

A START publishes the call OPEN (revision 1); an END with a START before it, within the window, publishes the pair
(revision 3), without one ORPHAN_END (revision 2). A START that comes after its END publishes the pair too, when it is the
span's first START within the window; of several ENDs it takes the nearest. An empty session or span never pairs.

The call's id follows from its span, so a span that is used for several calls is one call: what was paired counts for more
than what is open, and of two pairs the store keeps one.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from hashlib import sha1

from chaukas.spec.common.v1 import events_pb2 as pb

from contracts.v1 import facts_pb2
from processors.clip import clip_name, clip_text
from processors.handoffs import set_time
from processors.intake import Incoming
from processors.statuses import effective_status
from processors.window import Recent, Window

_START, _END = int(pb.EVENT_TYPE_MCP_CALL_START), int(pb.EVENT_TYPE_MCP_CALL_END)
MCP_TYPES = frozenset((_START, _END))

_NAMESPACE = uuid.UUID("0d0d2f0e-7a4f-5c43-9d3c-6f4e1f7a2b11")
_NAMESPACE_BYTES = _NAMESPACE.bytes
#: A hexadecimal digit with its two high bits set as a UUID's variant says.
_VARIANTS = {f"{digit:x}": f"{digit & 3 | 8:x}" for digit in range(16)}


@dataclass(slots=True)
class Side:
    """What a fact takes from one of a call's two events."""

    offset: int
    event_id: str
    time_ns: int
    trace_id: str
    agent_id: str
    agent_name: str
    server_name: str
    server_url: str
    operation: str
    method: str
    request_bytes: int
    # Of an END only:
    response_bytes: int = 0
    reported_ms: float | None = None
    failed: bool = False
    error_code: str = ""
    error_message: str = ""


class McpCalls:
    """State of this step: the latest START and END of each span."""

    __slots__ = ("ends", "starts", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        self.starts: Recent[str, Side] = Recent(window.offsets)
        self.ends: Recent[str, Side] = Recent(window.offsets)


def call_id(event: Incoming) -> str:
    """uuid5 of the span, so that both events of a call agree; without session or span, of the event."""
    if event.session_id and event.span_id:
        name = f"span\x00{event.tenant_id}\x00{event.project_id}\x00{event.session_id}\x00{event.span_id}"
    else:
        name = f"event\x00{event.tenant_id}\x00{event.event_id}"
    return _uuid5(name)


def _uuid5(name: str) -> str:
    """``str(uuid.uuid5(_NAMESPACE, name))`` at a third of its cost."""
    digest = sha1(_NAMESPACE_BYTES + name.encode(), usedforsecurity=False).hexdigest()
    variant = _VARIANTS[digest[16]]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


def mcp_calls(state: McpCalls, event: Incoming) -> list[facts_pb2.McpCallFact]:
    """The call this event opens or ends; nothing for other types."""
    if event.type == _START:
        return [_started(state, event)]
    if event.type == _END:
        return [_ended(state, event)]
    return []


def _key(event: Incoming) -> str | None:
    return event.session + event.span_id if event.session_id and event.span_id else None


def _within(side: Side | None, oldest: int) -> Side | None:
    return side if side is not None and side.offset >= oldest else None


def _started(state: McpCalls, event: Incoming) -> facts_pb2.McpCallFact:
    start, end = _side(event), None
    key = _key(event)
    if key is not None:
        oldest = state.window.oldest(event.offset)
        if _within(state.starts.get(key), oldest) is None:
            end = _within(state.ends.get(key), oldest)
        state.starts.put(key, start, event.offset)
    return _fact(event, start, end)


def _ended(state: McpCalls, event: Incoming) -> facts_pb2.McpCallFact:
    start, end = None, _side(event)
    key = _key(event)
    if key is not None:
        start = _within(state.starts.get(key), state.window.oldest(event.offset))
        state.ends.put(key, end, event.offset)
    return _fact(event, start, end)


def _side(event: Incoming) -> Side:
    sent = event.event
    call = sent.mcp_call  # an empty one when `error` evicted it
    side = Side(
        offset=event.offset,
        event_id=event.event_id,
        time_ns=event.time_ns,
        trace_id=sent.trace_id,
        agent_id=sent.agent_id,
        agent_name=clip_name(sent.agent_name),
        server_name=clip_name(call.server_name),
        server_url=clip_name(call.server_url),
        operation=clip_name(call.operation),
        method=clip_name(call.method),
        request_bytes=call.request.ByteSize(),
    )
    if event.type == _END:
        side.response_bytes = call.response.ByteSize()
        reported: float = call.execution_time_ms
        side.reported_ms = reported if reported and math.isfinite(reported) else None
        side.failed = sent.HasField("error") or effective_status(event) == pb.EVENT_STATUS_FAILED
        side.error_code = clip_name(sent.error.error_code)
        side.error_message = clip_text(sent.error.error_message)
    return side


def _fact(event: Incoming, start: Side | None, end: Side | None) -> facts_pb2.McpCallFact:
    """What is known of the call; of what both sides say, the START's word counts, else the END's."""
    first = start or end
    assert first is not None
    other = end or first
    fact = facts_pb2.McpCallFact()  # field by field: half the cost of arguments
    fact.call_id = call_id(event)
    fact.tenant_id = event.tenant_id
    fact.project_id = event.project_id
    fact.session_id = event.session_id
    fact.span_id = event.span_id
    fact.trace_id = first.trace_id or other.trace_id
    fact.agent_id = first.agent_id or other.agent_id
    fact.agent_name = first.agent_name or other.agent_name
    fact.server_name = first.server_name or other.server_name
    fact.server_url = first.server_url or other.server_url
    fact.operation = first.operation or other.operation
    fact.method = first.method or other.method
    fact.request_bytes = first.request_bytes or other.request_bytes
    topic, partition = event.record.topic, event.record.partition
    if start is not None:
        fact.start_event_id = start.event_id
        set_time(fact.started_at, start.time_ns)
        source = fact.start_source
        source.topic, source.partition, source.offset = topic, partition, start.offset
    if end is not None:
        fact.end_event_id = end.event_id
        set_time(fact.ended_at, end.time_ns)
        source = fact.end_source
        source.topic, source.partition, source.offset = topic, partition, end.offset
        fact.response_bytes = end.response_bytes
        if end.reported_ms is not None:
            fact.reported_ms = end.reported_ms
        fact.error_code, fact.error_message = end.error_code, end.error_message
    if start is None:
        fact.status, fact.revision = facts_pb2.MCP_CALL_STATUS_ORPHAN_END, 2
    elif end is None:
        fact.status, fact.revision = facts_pb2.MCP_CALL_STATUS_OPEN, 1
    else:
        fact.measured_ms = (end.time_ns - start.time_ns) / 1_000_000
        fact.status = facts_pb2.MCP_CALL_STATUS_ERROR if end.failed else facts_pb2.MCP_CALL_STATUS_OK
        fact.revision = 3
    return fact
