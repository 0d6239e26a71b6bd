"""ListMcpCalls and GetMcpStats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contracts.identity import Identity
from contracts.v1 import facts_pb2, insights_pb2
from sink.query import builder
from sink.query.answers import checked, set_if_known, set_position, set_time
from sink.query.engine import Deadline, Engine
from sink.query.identity import scope_of
from sink.query.listing import Listing, ListRequest
from sink.query.pages import TokenCodec
from sink.query.ranges import ns_range

#: Tags, lengths, times, numbers, ids and topic names of a serialized McpCallFact.
_OVERHEAD_BYTES = 2048
_LISTING = Listing("mcp_calls", keys=3, statement=builder.mcp_page, overhead_bytes=_OVERHEAD_BYTES)
_FOREIGN_FILTERS = ("types", "severities", "tags")


class McpQueries:
    """Answers ListMcpCalls and GetMcpStats."""

    def __init__(self, engine: Engine, codec: TokenCodec) -> None:
        self._engine = engine
        self._codec = codec

    async def list_mcp_calls(
        self, identity: Identity, request: insights_pb2.ListMcpCallsRequest, deadline: Deadline
    ) -> bytes:
        """A serialized ListMcpCallsResponse. Raises InvalidInput, PermissionDenied and what the engine raises."""
        builder.refuse(request.filter, _FOREIGN_FILTERS, "filter")
        scope = scope_of(identity, request.filter.tenant_id, request.filter.project_id)
        page = await _LISTING.page(self._engine, self._codec, scope, ListRequest.of(request), deadline)
        answer = insights_pb2.ListMcpCallsResponse(next_page_token=page.next_page_token)
        if page.rows:
            keys = [row.position[1:] for row in page.rows]
            rows = await self._engine.rows(builder.rows_at("mcp_rows", scope, keys), deadline)
            # A call that ended between the two reads may have moved in time; it is told as it is now.
            facts = {tuple(row[1 : _LISTING.keys]): mcp_call_fact(scope.tenant_id, row) for row in rows}
            answer.calls.extend(facts[key] for key in keys if key in facts)
        return answer.SerializeToString()

    async def get_mcp_stats(
        self, identity: Identity, request: insights_pb2.GetMcpStatsRequest, deadline: Deadline
    ) -> bytes:
        """A serialized GetMcpStatsResponse, most called first."""
        scope = scope_of(identity, request.tenant_id, request.project_id)
        bounds = ns_range(request.time_range, "time_range")
        answer = insights_pb2.GetMcpStatsResponse()
        for row in await self._engine.rows(builder.mcp_stats(scope, bounds), deadline):
            server_name, operation, calls, errors, still_open, measured, quantiles = row
            server = answer.servers.add(
                server_name=server_name, operation=operation, calls=calls, errors=errors, open=still_open
            )
            if measured:
                server.p50_ms, server.p95_ms, server.p99_ms = quantiles
        return checked(answer)


def mcp_call_fact(tenant_id: str, row: Sequence[Any]) -> facts_pb2.McpCallFact:
    """The fact in a row of ``mcp_rows.sql``."""
    (
        _at_ns,
        call_id,
        project_id,
        start_event_id,
        end_event_id,
        session_id,
        trace_id,
        span_id,
        agent_id,
        agent_name,
        server_name,
        server_url,
        operation,
        method,
        started_ns,
        ended_ns,
        measured_ms,
        reported_ms,
        status,
        error_code,
        error_message,
        request_bytes,
        response_bytes,
        source_topic,
        start_partition,
        start_offset,
        end_partition,
        end_offset,
        revision,
    ) = row
    fact = facts_pb2.McpCallFact(
        call_id=call_id,
        start_event_id=start_event_id,
        end_event_id=end_event_id,
        tenant_id=tenant_id,
        project_id=project_id,
        session_id=session_id,
        trace_id=trace_id,
        span_id=span_id,
        agent_id=agent_id,
        agent_name=agent_name,
        server_name=server_name,
        server_url=server_url,
        operation=operation,
        method=method,
        status=status,
        error_code=error_code,
        error_message=error_message,
        request_bytes=request_bytes,
        response_bytes=response_bytes,
        revision=revision,
    )
    set_time(fact, "started_at", started_ns)
    set_time(fact, "ended_at", ended_ns)
    set_if_known(fact, measured_ms=measured_ms, reported_ms=reported_ms)
    set_position(fact, "start_source", source_topic, start_partition, start_offset)
    set_position(fact, "end_source", source_topic, end_partition, end_offset)
    return fact
