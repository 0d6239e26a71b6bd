"""What queries must answer, computed naively from the copies that were sent. Shares no code with the product."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.common.v1.query_pb2 import QueryFilter, TimeRange

from tests.support.stored import Copy

MIN_NS = -2_208_988_800 * 10**9
MAX_NS = 9_223_372_036 * 10**9

#: Pieces of text with the words they have, written out by hand.
VOCABULARY: dict[str, set[str]] = {
    "refund": {"refund"},
    "REFUND": {"refund"},
    "Über": {"über"},
    "ber": {"ber"},
    "ü": {"ü"},
    "don't": {"don't"},
    "don": {"don"},
    "host.com": {"host.com"},
    "host": {"host"},
    "3.14": {"3.14"},
    "a_b": {"a_b"},
    "日本語": {"日", "本", "語"},
    "本": {"本"},
    "straße": {"straße"},
    "cafe\u0301": {"cafe\u0301"},
    "ПРИВЕТ": {"привет"},
    "😀": set(),
    "--": set(),
}


def words_of(text: str) -> set[str]:
    """Of text made of vocabulary pieces between spaces."""
    return {word for piece in text.split(" ") if piece for word in VOCABULARY[piece]}


def stored_time(copy: Copy) -> int:
    event = copy.event
    if not event.HasField("timestamp"):
        return copy.received_ns
    sent: int = event.timestamp.seconds * 10**9 + event.timestamp.nanos
    return min(max(sent, MIN_NS), MAX_NS)


def stored(copies: Iterable[Copy]) -> list[Copy]:
    """One copy per event: of those with the same id, content, project and time, the first."""
    first: dict[tuple[object, ...], Copy] = {}
    for copy in copies:
        event = copy.event
        key = (event.tenant_id, event.project_id, event.event_id, copy.canonical, stored_time(copy))
        other = first.get(key)
        rank = (copy.received_ns, copy.partition, copy.offset)
        if other is None or rank < (other.received_ns, other.partition, other.offset):
            first[key] = copy
    return list(first.values())


def in_range(stored_ns: int, time: TimeRange) -> bool:
    """For stored times inside the span the store keeps."""
    start = time.start.seconds * 10**9 + time.start.nanos
    end = time.end.seconds * 10**9 + time.end.nanos
    return (not time.HasField("start") or stored_ns >= start) and (not time.HasField("end") or stored_ns < end)


def matches(copy: Copy, filters: QueryFilter, tenant: str, projects: frozenset[str] | None) -> bool:
    event = copy.event
    if event.tenant_id != tenant or (projects is not None and event.project_id not in projects):
        return False
    if filters.project_id and event.project_id != filters.project_id:
        return False
    for name in ("session_id", "agent_id", "span_id", "trace_id"):
        wanted = getattr(filters, name)
        if wanted and getattr(event, name) != wanted:
            return False
    for allowed, value in (
        (filters.types, event.type),
        (filters.statuses, copy.status),
        (filters.severities, event.severity),
    ):
        if allowed and value not in allowed:
            return False
    if not set(filters.tags) <= set(event.tags):
        return False
    text = words_of(event.message.text) | words_of(event.agent_name)
    return words_of(filters.text_query) <= text and in_range(stored_time(copy), filters.time)


@dataclass(frozen=True)
class Stats:
    total: int
    sessions: int
    by_type: dict[str, int]
    average_ms: float


def statistics(copies: Sequence[Copy]) -> Stats:
    times: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    by_type: defaultdict[str, int] = defaultdict(int)
    for copy in copies:
        event = copy.event
        if event.session_id:
            times[event.project_id, event.session_id].append(stored_time(copy))
        known = event.type in pb.EventType.values()
        by_type[pb.EventType.Name(event.type) if known else f"EVENT_TYPE_{event.type}"] += 1
    spans = [max(found) - min(found) for found in times.values()]
    average = sum(spans) / len(spans) / 1e6 if spans else 0.0
    return Stats(len(copies), len(times), dict(by_type), average)
