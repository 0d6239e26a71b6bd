"""GetEventStats: counted from the deduplicated rows, so exact at any moment, whatever was re-sent."""

from __future__ import annotations

from chaukas.spec.common.v1 import events_pb2
from chaukas.spec.server.v1 import server_pb2

from contracts.identity import Identity
from sink.query.answers import checked
from sink.query.builder import event_stats
from sink.query.engine import Deadline, Engine
from sink.query.identity import scope_of
from sink.query.ranges import ns_range

_NANOS_PER_MS = 1_000_000


class EventStats:
    """Answers GetEventStats."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def get_event_stats(
        self, identity: Identity, request: server_pb2.GetEventStatsRequest, deadline: Deadline
    ) -> bytes:
        """A serialized GetEventStatsResponse. Raises InvalidInput, PermissionDenied and what the engine raises.

        A session is a distinct non-empty session_id of a project; its duration is the time from its first to its last event
        within the time range, 0 for a single event.
        """
        scope = scope_of(identity, request.tenant_id, request.project_id)
        bounds = ns_range(request.time_range, "time_range")
        ((events, sessions, duration_ns, by_type),) = await self._engine.rows(event_stats(scope, bounds), deadline)
        answer = server_pb2.GetEventStatsResponse(total_events=events, total_sessions=sessions)
        if sessions:
            answer.avg_session_duration_ms = duration_ns / (sessions * _NANOS_PER_MS)
        for number, count in by_type.items():
            answer.events_by_type[type_name(number)] = count
        return checked(answer)


def type_name(number: int) -> str:
    """The enum's name; ``EVENT_TYPE_<number>`` for a number this version of the spec does not name."""
    named = events_pb2.EventType.DESCRIPTOR.values_by_number.get(number)
    return named.name if named is not None else f"EVENT_TYPE_{number}"
