"""Random events, copies and queries: the real engine against a naive model."""

from __future__ import annotations

import asyncio
import itertools
import math
from typing import Any

from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.common.v1.query_pb2 import SORT_ORDER_ASC, SORT_ORDER_DESC, SORT_ORDER_UNSPECIFIED, QueryFilter
from chaukas.spec.server.v1.server_pb2 import (
    GetEventStatsRequest,
    GetEventStatsResponse,
    QueryEventsRequest,
    QueryEventsResponse,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.identity import Identity, Scope
from sink.query.engine import Deadline, Engine
from sink.query.events import EventQueries
from sink.query.pages import TokenCodec
from sink.query.stats import EventStats
from sink.store import Store
from tests.integration.query import model
from tests.support.stored import Copy, clear, insert_copies

CODEC = TokenCodec(b"k" * 32)
BASE_NS = 1_750_000_000_000_000_000
TIMES = st.one_of(
    st.sampled_from([BASE_NS, BASE_NS + 1, BASE_NS + 5, BASE_NS + 10**9, BASE_NS + 40 * 86_400 * 10**9]),
    st.sampled_from([0, -1, -5 * 10**17, 9 * 10**18]),
)
SEPARATORS = st.sampled_from([" ", "  "])
TEXTS = st.lists(st.sampled_from(sorted(model.VOCABULARY)), max_size=4).map(" ".join)
TYPES = st.sampled_from([pb.EVENT_TYPE_ERROR, pb.EVENT_TYPE_SESSION_START, 77, -3])
STATUSES = st.sampled_from([0, pb.EVENT_STATUS_STARTED, pb.EVENT_STATUS_FAILED, 99])
SEVERITIES = st.sampled_from([0, pb.SEVERITY_INFO, pb.SEVERITY_ERROR, 12])
TAGS = st.lists(st.sampled_from(["a", "b", "ä b", "A"]), max_size=3)
PROJECTS = st.sampled_from(["", "p", "q"])
SESSIONS = st.sampled_from(["", "s1", "s2", "S1"])
AGENTS = st.sampled_from(["", "x", "y'\\\t"])


@st.composite
def events(draw: st.DrawFn) -> Any:
    event = pb.Event(
        event_id=draw(st.sampled_from([f"e{number}" for number in range(12)])),
        tenant_id=draw(st.sampled_from(["t", "t", "t", "u"])),
        project_id=draw(PROJECTS),
        session_id=draw(SESSIONS),
        agent_id=draw(AGENTS),
        span_id=draw(AGENTS),
        trace_id=draw(AGENTS),
        type=draw(TYPES),
        status=draw(STATUSES),
        severity=draw(SEVERITIES),
        tags=draw(TAGS),
        message=pb.MessageContent(text=draw(TEXTS)),
        agent_name=draw(TEXTS),
    )
    at = draw(st.none() | TIMES)
    if at is not None:
        event.timestamp.seconds, event.timestamp.nanos = divmod(at, 10**9)
    return event


@st.composite
def parts(draw: st.DrawFn) -> list[list[Copy]]:
    """What several inserts bring: events, and copies of them as re-sends and replays make them."""
    sent = draw(st.lists(events(), min_size=1, max_size=14))
    copies: list[Copy] = []
    for offset, event in enumerate(sent):
        received = BASE_NS + offset
        copies.append(Copy(event, offset % 3, offset, received, draw(st.none() | STATUSES)))
        for again in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
            later = received + draw(st.sampled_from([0, 10**9, 60 * 86_400 * 10**9]))
            if not event.HasField("timestamp"):
                later = received  # its time is that of receipt: only a replay is the same row
            copies.append(Copy(event, again, 1000 + offset * 3 + again, later, draw(st.none() | STATUSES)))
    draw(st.randoms(use_true_random=False)).shuffle(copies)
    cuts = sorted(draw(st.lists(st.integers(0, len(copies)), max_size=2)))
    edges = [0, *cuts, len(copies)]
    return [copies[start:end] for start, end in itertools.pairwise(edges) if start < end]


@st.composite
def filters(draw: st.DrawFn) -> QueryFilter:
    """Few conditions at a time, or nothing would match."""

    def sometimes(values: st.SearchStrategy[Any], otherwise: Any) -> Any:
        return draw(values) if draw(st.integers(0, 4)) == 0 else otherwise

    made = QueryFilter(
        project_id=sometimes(PROJECTS, ""),
        session_id=sometimes(SESSIONS, ""),
        agent_id=sometimes(AGENTS, ""),
        span_id=sometimes(AGENTS, ""),
        trace_id=sometimes(AGENTS, ""),
        types=sometimes(st.lists(TYPES, max_size=2), []),
        statuses=sometimes(st.lists(STATUSES, max_size=2), []),
        severities=sometimes(st.lists(SEVERITIES, max_size=2), []),
        tags=sometimes(TAGS, []),
        text_query=sometimes(TEXTS, ""),
    )
    for bound in (made.time.start, made.time.end):
        at = sometimes(TIMES, None)
        if at is not None:
            bound.seconds, bound.nanos = divmod(at, 10**9)
    return made


ORDERS = st.sampled_from([SORT_ORDER_UNSPECIFIED, SORT_ORDER_ASC, SORT_ORDER_DESC])
QUERIES = st.tuples(
    filters(), ORDERS, st.integers(1, 7), st.sampled_from([None, frozenset({"p"}), frozenset({"", "q"})])
)

many = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def fill(store: Store, inserts: list[list[Copy]]) -> list[Copy]:
    clear(store)
    for copies in inserts:
        insert_copies(store, copies)
    return model.stored(copy for copies in inserts for copy in copies)


def hashes(store: Store) -> dict[tuple[str, str, bytes], int]:
    """The order among equal times is the engine's hash: read it, rather than compute it as the product does."""
    rows = store.writer.query(
        "SELECT tenant_id, event_id, lower(hex(canonical_sha256)), event_hash FROM events"
    ).result_rows
    return {(tenant, event, bytes.fromhex(canonical)): hashed for tenant, event, canonical, hashed in rows}


async def read_pages(engine: Engine, caller: Identity, request: QueryEventsRequest) -> list[list[bytes]]:
    """All pages, each event as its bytes."""
    queries, found = EventQueries(engine, CODEC), []
    while True:
        answer = QueryEventsResponse.FromString(
            await queries.query_events(caller, request, Deadline.after(30))
        ).response
        found.append([event.SerializeToString(deterministic=True) for event in answer.events])
        if not answer.next_page_token:
            return found
        request.query.page_token = answer.next_page_token


@many
@given(parts(), st.lists(QUERIES, min_size=3, max_size=6))
def test_query_events_agrees_with_the_model(
    store: Store, engine: Engine, inserts: list[list[Copy]], queries: list[Any]
) -> None:
    rows = fill(store, inserts)
    hash_of = hashes(store)
    for wanted, order, size, projects in queries:
        if projects is not None and wanted.project_id not in projects:
            wanted.project_id = ""
        caller = Identity("t", projects, frozenset({Scope.QUERY}))
        request = QueryEventsRequest()
        request.query.filter.CopyFrom(wanted)
        request.query.order_by_time = order
        request.query.page_size = size
        pages = asyncio.run(read_pages(engine, caller, request))

        right = [copy for copy in rows if model.matches(copy, wanted, "t", projects)]
        right.sort(
            key=lambda copy: (
                model.stored_time(copy),
                hash_of["t", copy.event.event_id, copy.canonical],
                copy.event.project_id,
            ),
            reverse=order != SORT_ORDER_ASC,
        )
        # Events are compared as messages: the bytes themselves are the subject of another test.
        expected = [pb.Event.FromString(copy.value).SerializeToString(deterministic=True) for copy in right]
        assert pages == ([expected[at : at + size] for at in range(0, len(expected), size)] or [[]])


@many
@given(parts(), filters(), st.sampled_from([None, frozenset({"p"}), frozenset({"", "q"})]))
def test_statistics_agree_with_a_recount(
    store: Store, engine: Engine, inserts: list[list[Copy]], wanted: QueryFilter, projects: frozenset[str] | None
) -> None:
    rows = fill(store, inserts)
    project = wanted.project_id if projects is None or wanted.project_id in projects else ""
    only = QueryFilter(project_id=project, time=wanted.time)
    expected = model.statistics([copy for copy in rows if model.matches(copy, only, "t", projects)])

    request = GetEventStatsRequest(project_id=project, time_range=wanted.time)
    caller = Identity("t", projects, frozenset({Scope.QUERY}))
    data = asyncio.run(EventStats(engine).get_event_stats(caller, request, Deadline.after(30)))
    answer = GetEventStatsResponse.FromString(data)
    assert (answer.total_events, answer.total_sessions) == (expected.total, expected.sessions)
    assert dict(answer.events_by_type) == expected.by_type
    assert math.isclose(answer.avg_session_duration_ms, expected.average_ms, rel_tol=1e-12)
