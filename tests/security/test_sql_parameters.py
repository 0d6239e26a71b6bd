"""Text of a request never becomes SQL: statements do not depend on values, and the engine takes hostile values as values."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.common.v1.query_pb2 import QueryFilter
from chaukas.spec.server.v1.server_pb2 import (
    GetEventStatsRequest,
    GetEventStatsResponse,
    QueryEventsRequest,
    QueryEventsResponse,
)
from hypothesis import given
from hypothesis import strategies as st

from contracts.identity import Identity
from contracts.identity import Scope as KeyScope
from contracts.v1 import facts_pb2
from contracts.v1.facts_pb2 import HandoffFact, McpCallFact
from contracts.v1.insights_pb2 import (
    ListHandoffsRequest,
    ListHandoffsResponse,
    ListMcpCallsRequest,
    ListMcpCallsResponse,
)
from runtime.settings import SinkSettings, load
from sink.query import builder
from sink.query.builder import Statement
from sink.query.engine import Deadline, Engine
from sink.query.events import EventQueries
from sink.query.handoffs import HandoffQueries
from sink.query.identity import Scope
from sink.query.mcp_calls import McpQueries
from sink.query.pages import TokenCodec
from sink.query.ranges import NsRange
from sink.query.stats import EventStats
from sink.store import Store
from tests.support.hostile_texts import HOSTILE_TEXTS, hostile_texts
from tests.support.raw_records import RECEIVED_NS
from tests.support.stored import Copy, insert_copies, insert_handoffs, insert_mcp_calls, open_store

BOUNDS = NsRange(1, 2)
TEXTS = st.one_of(st.sampled_from(HOSTILE_TEXTS), st.text(min_size=1, max_size=40))
ANY_TEXT = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=40) | st.sampled_from(HOSTILE_TEXTS)


def every_filter(text: str) -> QueryFilter:
    """With `text` in every field that holds text; words are another test's, because their number may shape the statement."""
    return QueryFilter(
        session_id=text,
        agent_id=text,
        span_id=text,
        trace_id=text,
        tags=[text],
        types=[1],
        statuses=[1],
        severities=[1],
    )


def statements(text: str, number: int) -> list[Statement]:
    """Every statement there is, with `text` and `number` wherever a value can be."""
    one, two, every = Scope(text, (text,)), Scope(text, (text, text + "2")), Scope(text, None)
    found = []
    for scope in (one, two, every):
        wanted = every_filter(text)
        place: list[Any] = [(number, number, text)]
        after = (number, number, text)
        found += [
            builder.event_page(scope, wanted, BOUNDS, True, after, number),
            builder.event_confirm(scope, wanted, place),
            builder.rows_at("event_payloads", scope, place),
            builder.handoff_page(scope, wanted, BOUNDS, True, (number, number, number, text, text), number),
            builder.handoff_hops(scope, [(text, text)], place),
            builder.mcp_page(scope, wanted, BOUNDS, False, (number, text, text), number),
            builder.event_stats(scope, BOUNDS),
            builder.stats_days(scope, BOUNDS, range(number, number + 1), [(text, number)]),
            builder.mcp_stats(scope, BOUNDS),
            builder.handoff_stats(scope, BOUNDS),
        ]
    return found


PLAIN = statements("plain", 7)


@given(ANY_TEXT, st.integers(0, 2**62))
def test_no_statement_depends_on_a_value(text: str, number: int) -> None:
    assert [one.sql for one in statements(text, number)] == [one.sql for one in PLAIN]


PAGES: list[Callable[..., Statement]] = [builder.event_page, builder.handoff_page, builder.mcp_page]
SCOPE = Scope("t", None)
#: A text is looked up in an index or not, or is no text at all: nothing else of it shapes a statement.
WORDS = ("word", "_", "--")


@given(ANY_TEXT)
def test_no_statement_depends_on_the_words_looked_for(text: str) -> None:
    for page in PAGES:
        shapes = {page(SCOPE, QueryFilter(text_query=word), BOUNDS, True, None, 1).sql for word in WORDS}
        assert page(SCOPE, QueryFilter(text_query=text), BOUNDS, True, None, 1).sql in shapes
    confirms = {builder.event_confirm(SCOPE, QueryFilter(text_query=word), []).sql for word in WORDS}
    assert builder.event_confirm(SCOPE, QueryFilter(text_query=text), []).sql in confirms


# -- the real engine

#: What means something to SQL, to the driver's own formatting, or to neither.
ALL = [text for text in dict.fromkeys(hostile_texts(3, 12)) if re.search(r"[^\w .<>]", text)][:30]
TENANT = "t'\\"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An event, a hand-off and an MCP call for each hostile text, which is in every field of theirs that a filter knows; the
    same of another tenant."""
    store: Store = open_store(tmp_path_factory.mktemp("hostile"))
    copies: list[Copy] = []
    handoffs, calls = [], []
    for tenant in (TENANT, "other"):
        for number, text in enumerate(ALL):
            event = pb.Event(
                event_id=f"e{number}",
                tenant_id=tenant,
                project_id=text,
                session_id=text,
                agent_id=text,
                span_id=text,
                trace_id=text,
                type=pb.EVENT_TYPE_ERROR,
                tags=[text, "common"],
                message=pb.MessageContent(text=text),
            )
            copies.append(Copy(event, offset=len(copies), received_ns=RECEIVED_NS + number))
            common: dict[str, Any] = {
                "tenant_id": tenant,
                "project_id": text,
                "session_id": text,
                "span_id": text,
                "trace_id": text,
            }
            fact = HandoffFact(**common, handoff_id=f"h{number}", from_agent_id=text, reason=text, revision=1)
            fact.handed_off_at.FromNanoseconds(RECEIVED_NS + number)
            fact.source.partition, fact.source.offset = 0, number
            handoffs.append(fact)
            call = McpCallFact(
                **common,
                call_id=f"c{number}",
                agent_id=text,
                server_name=text,
                revision=1,
                status=facts_pb2.MCP_CALL_STATUS_OPEN,
            )
            call.started_at.FromNanoseconds(RECEIVED_NS + number)
            calls.append(call)
    insert_copies(store, copies)
    insert_handoffs(store, handoffs)
    insert_mcp_calls(store, calls)
    yield Engine(store, load(SinkSettings))
    store.close()


CODEC = TokenCodec(b"k" * 32)


def caller(*projects: str) -> Identity:
    return Identity(TENANT, frozenset(projects) or None, frozenset({KeyScope.QUERY}))


def found(engine: Engine, filters: QueryFilter, who: Identity, size: int = 1000) -> list[str]:
    """Ids of the events on all pages."""
    request = QueryEventsRequest()
    request.query.filter.CopyFrom(filters)
    request.query.page_size = size
    ids: list[str] = []
    while True:
        data = asyncio.run(EventQueries(engine, CODEC).query_events(who, request, Deadline.after(30)))
        answer = QueryEventsResponse.FromString(data).response
        assert {event.tenant_id for event in answer.events} <= {TENANT}
        ids += [event.event_id for event in answer.events]
        if not answer.next_page_token:
            return ids
        request.query.page_token = answer.next_page_token


@pytest.mark.parametrize("number", range(len(ALL)))
def test_a_hostile_value_finds_what_has_it_and_nothing_else(engine: Engine, number: int) -> None:
    text = ALL[number]
    only = [f"e{number}"]
    everywhere = QueryFilter(session_id=text, agent_id=text, span_id=text, trace_id=text, tags=[text, "common"])
    assert found(engine, everywhere, caller(text)) == only
    assert found(engine, QueryFilter(tags=[text + "' no such"]), caller()) == []

    # Words: whatever they are taken for, the event that has them all is there.
    assert f"e{number}" in found(engine, QueryFilter(text_query=text), caller())

    handoffs, calls = HandoffQueries(engine, CODEC), McpQueries(engine, CODEC)
    wanted = QueryFilter(session_id=text, agent_id=text, span_id=text, trace_id=text)
    data = asyncio.run(handoffs.list_handoffs(caller(), ListHandoffsRequest(filter=wanted), Deadline.after(30)))
    assert [fact.handoff_id for fact in ListHandoffsResponse.FromString(data).handoffs] == [f"h{number}"]
    data = asyncio.run(calls.list_mcp_calls(caller(), ListMcpCallsRequest(filter=wanted), Deadline.after(30)))
    assert [fact.call_id for fact in ListMcpCallsResponse.FromString(data).calls] == [f"c{number}"]

    stats = GetEventStatsRequest(project_id=text)
    data = asyncio.run(EventStats(engine).get_event_stats(caller(), stats, Deadline.after(30)))
    assert GetEventStatsResponse.FromString(data).total_events == 1


def test_pages_go_on_behind_hostile_values(engine: Engine) -> None:
    """A page's token carries a project, which becomes a parameter again."""
    everything = [f"e{number}" for number in reversed(range(len(ALL)))]
    assert found(engine, QueryFilter(), caller(), size=3) == everything
    assert found(engine, QueryFilter(), caller(*ALL), size=7) == everything
