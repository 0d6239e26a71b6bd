"""What the processors must derive, computed the slow and obvious way, from the rules alone.

For each record it looks at all records before it in its partition; nothing is remembered, nothing is shared with the
product's code but the message classes. `W` counts offsets.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import genai_prices
from chaukas.spec.common.v1 import events_pb2 as pb

from contracts.v1 import enrichment_pb2, facts_pb2
from processors.intake import RawRecord

FAMILIES = ("SESSION", "AGENT", "MODEL_INVOCATION", "TOOL_CALL", "MCP_CALL")
STARTS = {pb.EventType.Value(f"EVENT_TYPE_{name}_START"): name for name in FAMILIES}
ENDS = {pb.EventType.Value(f"EVENT_TYPE_{name}_END"): name for name in FAMILIES}


@dataclass
class Seen:
    """One record, as the rules see it."""

    offset: int
    event: Any
    received_ns: int
    raw_value: bytes
    position: tuple[str, int]
    resend_of: int | None = None
    conflicts_with: int | None = None

    @property
    def marked(self) -> bool:
        return self.resend_of is not None or self.conflicts_with is not None

    @property
    def canonical(self) -> bytes:
        return hashlib.sha256(self.event.SerializeToString(deterministic=True)).digest()

    @property
    def sent_ns(self) -> int | None:
        stamp = self.event.timestamp
        return stamp.seconds * 10**9 + stamp.nanos if self.event.HasField("timestamp") else None

    @property
    def time_ns(self) -> int:
        return self.received_ns if self.sent_ns is None else self.sent_ns

    @property
    def scope(self) -> tuple[str, str, str]:
        return (self.event.tenant_id, self.event.project_id, self.event.session_id)

    @property
    def span(self) -> tuple[str, ...] | None:
        if not self.event.session_id or not self.event.span_id:
            return None
        return (*self.scope, self.event.span_id)

    @property
    def status(self) -> int:
        event = self.event
        if event.status:
            return int(event.status)
        if event.type in ENDS:
            bad = event.HasField("error") or event.severity == pb.SEVERITY_ERROR or event.tool_response.error_message
            return int(pb.EVENT_STATUS_FAILED if bad else pb.EVENT_STATUS_COMPLETED)
        return int(pb.EVENT_STATUS_STARTED) if event.type in STARTS else 0


@dataclass
class Expected:
    enrichment: enrichment_pb2.Enrichment
    handoffs: list[facts_pb2.HandoffFact] = field(default_factory=list)
    mcp_calls: list[facts_pb2.McpCallFact] = field(default_factory=list)


def expected(records: Sequence[RawRecord], window: int, namespace: uuid.UUID) -> dict[int, Expected]:
    """What must come out, by offset, of one partition's good records in their order. `namespace`: of call ids."""
    seen: list[Seen] = []
    found: dict[int, Expected] = {}
    for record in records:
        headers = {name: value for name, value in record.headers if value is not None}
        assert record.value is not None
        this = Seen(
            record.offset,
            pb.Event.FromString(record.value),
            int(headers["received_at_ns"]),
            record.value,
            (record.topic, record.partition),
        )
        same_id = [
            other
            for other in seen
            if (other.event.tenant_id, other.event.event_id) == (this.event.tenant_id, this.event.event_id)
            and other.offset >= this.offset - window
        ]
        if same_id:
            if same_id[-1].canonical == this.canonical:
                this.resend_of = same_id[-1].offset
            else:
                this.conflicts_with = same_id[-1].offset
        visible = [other for other in seen if other.offset >= this.offset - window and not other.marked]
        result = Expected(_enrichment(this, visible))
        if not this.marked:
            result.handoffs = _handoffs(this, visible)
            result.mcp_calls = _mcp_calls(this, visible, namespace)
        found[record.offset] = result
        seen.append(this)
    return found


def _enrichment(this: Seen, visible: list[Seen]) -> enrichment_pb2.Enrichment:
    made = enrichment_pb2.Enrichment(
        received_at_ns=this.received_ns,
        effective_status=this.status,
        raw=_source(this),
        content_sha256=hashlib.sha256(this.raw_value).digest(),
        canonical_sha256=this.canonical,
        resend_of=this.resend_of,
        conflicts_with=this.conflicts_with,
    )
    if this.sent_ns is not None:
        made.clock_skew_ms = (this.received_ns - this.sent_ns) / 10**6
    start = None if this.marked else _start_of(this, visible)
    if start is not None:
        made.start_event_id = start.event.event_id
        made.duration_ms = (this.time_ns - start.time_ns) / 10**6
        if this.event.HasField("error"):
            lost = _lost(start)
            if lost.ByteSize():
                made.recovered.CopyFrom(lost)
    _add_cost(this, made)
    return made


def _add_cost(this: Seen, made: enrichment_pb2.Enrichment) -> None:
    event, call = this.event, this.event.llm_invocation
    given = event.cost.total_cost or event.cost.input_cost or event.cost.output_cost
    if event.type != pb.EVENT_TYPE_MODEL_INVOCATION_END or given or not (call.prompt_tokens or call.completion_tokens):
        return
    usage = genai_prices.Usage(input_tokens=call.prompt_tokens, output_tokens=call.completion_tokens)
    when = datetime.fromtimestamp(this.time_ns // 10**9, UTC)
    try:
        price = genai_prices.calc_price(usage, call.model, provider_id=call.provider, genai_request_timestamp=when)
    except LookupError:
        return
    made.cost_usd, made.price_table = float(price.total_price), f"genai-prices {genai_prices.__version__}"


def _start_of(this: Seen, visible: list[Seen]) -> Seen | None:
    family = ENDS.get(this.event.type)
    if family is None or this.span is None:
        return None
    starts = [other for other in visible if STARTS.get(other.event.type) == family and other.span == this.span]
    return starts[-1] if starts else None


def _lost(start: Seen) -> enrichment_pb2.Enrichment.Recovered:
    event, lost = start.event, enrichment_pb2.Enrichment.Recovered()
    if event.type == pb.EVENT_TYPE_MCP_CALL_START:
        lost.mcp_server_name, lost.mcp_server_url = event.mcp_call.server_name, event.mcp_call.server_url
        lost.mcp_operation, lost.mcp_method = event.mcp_call.operation, event.mcp_call.method
    if event.type == pb.EVENT_TYPE_MODEL_INVOCATION_START:
        lost.model_provider, lost.model = event.llm_invocation.provider, event.llm_invocation.model
    if event.type == pb.EVENT_TYPE_TOOL_CALL_START:
        lost.tool_name, lost.function_name = event.tool_call.name, event.tool_call.function_name
    return lost


def _source(seen: Seen) -> facts_pb2.SourcePosition:
    return facts_pb2.SourcePosition(topic=seen.position[0], partition=seen.position[1], offset=seen.offset)


def _is_target(event: Any, handoff: Any) -> bool:
    if handoff.to_agent_id and event.agent_id:
        return bool(handoff.to_agent_id == event.agent_id)
    return bool(handoff.to_agent_name and handoff.to_agent_name == event.agent_name)


def _handoffs(this: Seen, visible: list[Seen]) -> list[facts_pb2.HandoffFact]:
    facts = []
    for number, other in enumerate(visible):
        if other.event.type != pb.EVENT_TYPE_AGENT_HANDOFF or not this.event.session_id or other.scope != this.scope:
            continue
        between = [later for later in visible[number + 1 :] if later.scope == other.scope]
        handoff = other.event.agent_handoff
        if _is_target(this.event, handoff) and not any(_is_target(later.event, handoff) for later in between):
            fact = _handed_off(other)
            fact.revision = 2
            fact.picked_up_event_id = this.event.event_id
            fact.picked_up_at.seconds, fact.picked_up_at.nanos = divmod(this.time_ns, 10**9)
            fact.latency_ms = (this.time_ns - other.time_ns) / 10**6
            facts.append(fact)
    if this.event.type == pb.EVENT_TYPE_AGENT_HANDOFF:
        facts.append(_handed_off(this))
    return facts


def _handed_off(seen: Seen) -> facts_pb2.HandoffFact:
    event, content = seen.event, seen.event.agent_handoff
    fact = facts_pb2.HandoffFact(
        handoff_id=event.event_id,
        tenant_id=event.tenant_id,
        project_id=event.project_id,
        session_id=event.session_id,
        trace_id=event.trace_id,
        span_id=event.span_id,
        from_agent_id=content.from_agent_id,
        from_agent_name=content.from_agent_name,
        to_agent_id=content.to_agent_id,
        to_agent_name=content.to_agent_name,
        handoff_type=content.handoff_type,
        reason=content.reason,
        source=_source(seen),
        revision=1,
    )
    fact.handed_off_at.seconds, fact.handed_off_at.nanos = divmod(seen.time_ns, 10**9)
    return fact


def _mcp_calls(this: Seen, visible: list[Seen], namespace: uuid.UUID) -> list[facts_pb2.McpCallFact]:
    same = [other for other in visible if this.span is not None and other.span == this.span]
    starts = [other for other in same if other.event.type == pb.EVENT_TYPE_MCP_CALL_START]
    ends = [other for other in same if other.event.type == pb.EVENT_TYPE_MCP_CALL_END]
    if this.event.type == pb.EVENT_TYPE_MCP_CALL_START:
        return [_call(this, ends[-1] if ends and not starts else None, namespace)]
    if this.event.type == pb.EVENT_TYPE_MCP_CALL_END:
        return [_call(starts[-1] if starts else None, this, namespace)]
    return []


def _call(start: Seen | None, end: Seen | None, namespace: uuid.UUID) -> facts_pb2.McpCallFact:
    sides = [side for side in (start, end) if side is not None]
    first = sides[0]
    event = first.event
    if first.span is not None:
        name = "\x00".join(("span", *first.span))
    else:
        name = "\x00".join(("event", event.tenant_id, event.event_id))
    fact = facts_pb2.McpCallFact(
        call_id=str(uuid.uuid5(namespace, name)),
        tenant_id=event.tenant_id,
        project_id=event.project_id,
        session_id=event.session_id,
        span_id=event.span_id,
    )
    for attribute in ("trace_id", "agent_id", "agent_name"):
        setattr(fact, attribute, next((v for s in sides if (v := getattr(s.event, attribute))), ""))
    for attribute in ("server_name", "server_url", "operation", "method"):
        setattr(fact, attribute, next((v for s in sides if (v := getattr(s.event.mcp_call, attribute))), ""))
    fact.request_bytes = next((n for s in sides if (n := s.event.mcp_call.request.ByteSize())), 0)
    if start is not None:
        fact.start_event_id = start.event.event_id
        fact.started_at.seconds, fact.started_at.nanos = divmod(start.time_ns, 10**9)
        fact.start_source.CopyFrom(_source(start))
    if end is not None:
        fact.end_event_id = end.event.event_id
        fact.ended_at.seconds, fact.ended_at.nanos = divmod(end.time_ns, 10**9)
        fact.end_source.CopyFrom(_source(end))
        fact.response_bytes = end.event.mcp_call.response.ByteSize()
        if end.event.mcp_call.execution_time_ms:
            fact.reported_ms = end.event.mcp_call.execution_time_ms
        fact.error_code, fact.error_message = end.event.error.error_code, end.event.error.error_message
    if start is not None and end is not None:
        failed = end.event.HasField("error") or end.status == pb.EVENT_STATUS_FAILED
        fact.status = facts_pb2.MCP_CALL_STATUS_ERROR if failed else facts_pb2.MCP_CALL_STATUS_OK
        fact.measured_ms = (end.time_ns - start.time_ns) / 10**6
        fact.revision = 3
    elif end is not None:
        fact.status, fact.revision = facts_pb2.MCP_CALL_STATUS_ORPHAN_END, 2
    else:
        fact.status, fact.revision = facts_pb2.MCP_CALL_STATUS_OPEN, 1
    return fact
