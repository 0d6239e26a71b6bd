"""ListHandoffs and GetHandoffStats. `hop` and loops are computed over the whole session, whatever the time range shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contracts.identity import Identity
from contracts.v1 import facts_pb2, insights_pb2
from sink.query import builder
from sink.query.answers import checked, set_if_known, set_position, set_time
from sink.query.engine import Deadline, Engine
from sink.query.identity import Scope, scope_of
from sink.query.listing import Listed, Listing, ListRequest
from sink.query.pages import TokenCodec
from sink.query.ranges import ns_range

#: Tags, lengths, times, numbers and the topic's name of a serialized HandoffFact; its source is at most one topic name.
_OVERHEAD_BYTES = 1024
_LISTING = Listing("handoffs", keys=5, statement=builder.handoff_page, overhead_bytes=_OVERHEAD_BYTES)
_FOREIGN_FILTERS = ("types", "statuses", "severities", "tags")


class HandoffQueries:
    """Answers ListHandoffs and GetHandoffStats."""

    def __init__(self, engine: Engine, codec: TokenCodec) -> None:
        self._engine = engine
        self._codec = codec

    async def list_handoffs(
        self, identity: Identity, request: insights_pb2.ListHandoffsRequest, deadline: Deadline
    ) -> bytes:
        """A serialized ListHandoffsResponse. Raises InvalidInput, PermissionDenied and what the engine raises."""
        builder.refuse(request.filter, _FOREIGN_FILTERS, "filter")
        scope = scope_of(identity, request.filter.tenant_id, request.filter.project_id)
        page = await _LISTING.page(self._engine, self._codec, scope, ListRequest.of(request), deadline)
        answer = insights_pb2.ListHandoffsResponse(next_page_token=page.next_page_token)
        if page.rows:
            facts = await self._facts(scope, page.rows, deadline)
            answer.handoffs.extend(facts[row.position] for row in page.rows if row.position in facts)
        return answer.SerializeToString()

    async def _facts(self, scope: Scope, rows: Sequence[Listed], deadline: Deadline) -> dict[tuple[Any, ...], Any]:
        positions = [row.position for row in rows]
        sessions = sorted({(str(row.position[-1]), str(row.extra[0])) for row in rows})
        hops = {
            tuple(position): (hop, returns)
            for *position, hop, returns in await self._engine.rows(
                builder.handoff_hops(scope, sessions, positions), deadline
            )
        }
        facts = {}
        for row in await self._engine.rows(builder.rows_at("handoff_rows", scope, positions), deadline):
            position = tuple(row[: _LISTING.keys])
            if position in hops:  # else settling removed it between the reads
                hop, returns = hops[position]
                facts[position] = handoff_fact(scope.tenant_id, row, hop, bool(returns))
        return facts

    async def get_handoff_stats(
        self, identity: Identity, request: insights_pb2.GetHandoffStatsRequest, deadline: Deadline
    ) -> bytes:
        """A serialized GetHandoffStatsResponse, most frequent edges first."""
        scope = scope_of(identity, request.tenant_id, request.project_id)
        bounds = ns_range(request.time_range, "time_range")
        answer = insights_pb2.GetHandoffStatsResponse()
        for row in await self._engine.rows(builder.handoff_stats(scope, bounds), deadline):
            from_id, from_name, to_id, to_name, count, loops, measured, quantiles = row
            edge = answer.edges.add(
                from_agent_id=from_id,
                from_agent_name=from_name,
                to_agent_id=to_id,
                to_agent_name=to_name,
                count=count,
                loops=loops,
            )
            if measured:
                edge.p50_latency_ms, edge.p95_latency_ms, edge.p99_latency_ms = quantiles
        return checked(answer)


def handoff_fact(tenant_id: str, row: Sequence[Any], hop: int, returns: bool) -> facts_pb2.HandoffFact:
    """The fact in a row of ``handoff_rows.sql``."""
    (
        at_ns,
        source_offset,
        source_partition,
        handoff_id,
        project_id,
        session_id,
        trace_id,
        span_id,
        from_agent_id,
        from_agent_name,
        to_agent_id,
        to_agent_name,
        handoff_type,
        reason,
        picked_up_ns,
        picked_up_event_id,
        latency_ms,
        source_topic,
        revision,
    ) = row
    fact = facts_pb2.HandoffFact(
        handoff_id=handoff_id,
        tenant_id=tenant_id,
        project_id=project_id,
        session_id=session_id,
        trace_id=trace_id,
        span_id=span_id,
        from_agent_id=from_agent_id,
        from_agent_name=from_agent_name,
        to_agent_id=to_agent_id,
        to_agent_name=to_agent_name,
        handoff_type=handoff_type,
        reason=reason,
        picked_up_event_id=picked_up_event_id,
        revision=revision,
        hop=hop,
        returns_to_earlier_agent=returns,
    )
    set_time(fact, "handed_off_at", at_ns)
    set_time(fact, "picked_up_at", picked_up_ns)
    set_position(fact, "source", source_topic, source_partition, source_offset)
    set_if_known(fact, latency_ms=latency_ms)
    return fact
