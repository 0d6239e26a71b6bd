"""GetEventStats: counted from the deduplicated rows, so exact at any moment, whatever was re-sent.

Whole days at rest within the range are taken from their counts (:mod:`sink.query.daily` says why that is exact), the rest is
read. In order: how far marking has come → which days are counted and untouched → one statement over both kinds. A range that is
one whole day asks both at once. When a
day changed between the last two, which the last one's `used_days` shows, the plan is made again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chaukas.spec.common.v1 import events_pb2
from chaukas.spec.server.v1 import server_pb2

from contracts.identity import Identity
from sink.query.answers import checked
from sink.query.builder import Statement, event_stats, stats_day, stats_days, stats_plan, template
from sink.query.engine import Deadline, Engine
from sink.query.identity import Scope, scope_of
from sink.query.ranges import NsRange, ns_range
from sink.times import MAX_NS, MIN_NS

_NANOS_PER_MS = 1_000_000
_DAY_NS = 86_400 * 10**9
#: Beyond, naming the days that are to be read costs more than it saves.
_MAX_RAW_DAYS = 2_000
#: Plans per call; then the events are read.
_PLANS = 3

Counted = tuple[int, int, int, Mapping[int, int]]


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
        events, sessions, duration_ns, by_type = await self._count(scope, bounds, deadline)
        answer = server_pb2.GetEventStatsResponse(total_events=events, total_sessions=sessions)
        if sessions:
            answer.avg_session_duration_ms = duration_ns / (sessions * _NANOS_PER_MS)
        for number, count in by_type.items():
            answer.events_by_type[type_name(number)] = count
        return checked(answer)

    async def _count(self, scope: Scope, bounds: NsRange, deadline: Deadline) -> Counted:
        days = whole_days(bounds)
        for _ in range(_PLANS if days else 0):
            ((seen_us,),) = await self._rows(Statement(template("stats_seen").substitute(), {}), deadline)
            if not seen_us:
                break
            if is_one_day(bounds, days):
                ((*counted, usable),) = await self._rows(stats_day(scope, bounds, days[0], seen_us), deadline)
                if usable:
                    events, sessions, duration_ns, by_type = counted
                    return events, sessions, duration_ns, by_type
            plan = stats_plan(scope, bounds, days, seen_us)
            ((raw_days, planned, counted_days),) = await self._rows(plan, deadline)
            if not counted_days or len(raw_days) > _MAX_RAW_DAYS:
                break
            ((*counted, used),) = await self._rows(stats_days(scope, bounds, days, raw_days), deadline)
            if used == planned:
                events, sessions, duration_ns, by_type = counted
                return events, sessions, duration_ns, by_type
        ((events, sessions, duration_ns, by_type),) = await self._rows(event_stats(scope, bounds), deadline)
        return events, sessions, duration_ns, by_type

    async def _rows(self, statement: Statement, deadline: Deadline) -> Sequence[Sequence[Any]]:
        return await self._engine.rows(statement, deadline)


def whole_days(bounds: NsRange) -> range:
    """The UTC days, counted from 1970, that lie within `bounds`; empty when there is none."""
    start = MIN_NS if bounds.start is None else bounds.start
    end = MAX_NS + 1 if bounds.end is None else bounds.end
    # Without an end the last day is whole, although the store's time ends within it.
    last = -(-end // _DAY_NS) if bounds.end is None else end // _DAY_NS
    return range(-(-start // _DAY_NS), last)


def is_one_day(bounds: NsRange, days: range) -> bool:
    """Whether `bounds` are one whole day, `days`, and no more."""
    return len(days) == 1 and (bounds.start, bounds.end) == (days.start * _DAY_NS, days.stop * _DAY_NS)


def type_name(number: int) -> str:
    """The enum's name; ``EVENT_TYPE_<number>`` for a number this version of the spec does not name."""
    named = events_pb2.EventType.DESCRIPTOR.values_by_number.get(number)
    return named.name if named is not None else f"EVENT_TYPE_{number}"
