"""Waiting until what was sent has come out at the other end: every event, and every fact derived from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import grpc
from chaukas.spec.common.v1 import events_pb2, query_pb2

from cli.client.connection import Connection
from cli.client.pages import pages
from cli.client.query import find_events
from contracts.v1 import facts_pb2, insights_pb2

#: Pause between two looks, seconds.
POLL_SECONDS = 0.15


@dataclass(slots=True)
class Arrived:
    """What can be asked for by now."""

    events: list[events_pb2.Event] = field(default_factory=list)
    handoffs: list[facts_pb2.HandoffFact] = field(default_factory=list)
    calls: list[facts_pb2.McpCallFact] = field(default_factory=list)

    def is_complete(self, event_ids: frozenset[str]) -> bool:
        """Every event is there, every hand-off is picked up, every MCP call that has an END knows it."""
        handoffs = sum(event.type == events_pb2.EVENT_TYPE_AGENT_HANDOFF for event in self.events)
        starts = sum(event.type == events_pb2.EVENT_TYPE_MCP_CALL_START for event in self.events)
        ends = sum(event.type == events_pb2.EVENT_TYPE_MCP_CALL_END for event in self.events)
        return (
            event_ids <= {event.event_id for event in self.events}
            and sum(fact.HasField("picked_up_at") for fact in self.handoffs) >= handoffs
            and len(self.calls) >= starts
            and sum(fact.HasField("ended_at") for fact in self.calls) >= ends
        )


def wait_for_session(
    connection: Connection,
    session_id: str,
    event_ids: frozenset[str],
    within_seconds: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Arrived, bool]:
    """Ask until the session is complete or `within_seconds` have passed: what arrived, and whether that is all of it.

    Raises the last ``grpc.RpcError`` when nothing could be asked in all that time.
    """
    deadline = clock() + within_seconds
    arrived, failure = Arrived(), None
    while True:
        try:
            arrived, failure = _look(connection, session_id), None
        except grpc.RpcError as error:
            failure = error
        if failure is None and arrived.is_complete(event_ids):
            return arrived, True
        if clock() >= deadline:
            if failure is not None and not arrived.events:
                raise failure
            return arrived, False
        sleep(POLL_SECONDS)


def _look(connection: Connection, session_id: str) -> Arrived:
    chosen, order = query_pb2.QueryFilter(session_id=session_id), query_pb2.SORT_ORDER_ASC

    def handoffs(size: int, token: str) -> tuple[Sequence[facts_pb2.HandoffFact], str]:
        request = insights_pb2.ListHandoffsRequest(filter=chosen, page_size=size, page_token=token, order_by_time=order)
        answer = connection.call(connection.insights.ListHandoffs, request)
        return answer.handoffs, answer.next_page_token

    def calls(size: int, token: str) -> tuple[Sequence[facts_pb2.McpCallFact], str]:
        request = insights_pb2.ListMcpCallsRequest(filter=chosen, page_size=size, page_token=token, order_by_time=order)
        answer = connection.call(connection.insights.ListMcpCalls, request)
        return answer.calls, answer.next_page_token

    return Arrived(
        events=[event for page in find_events(connection, chosen, None, order) for event in page],
        handoffs=[fact for page in pages(handoffs, None) for fact in page],
        calls=[fact for page in pages(calls, None) for fact in page],
    )
