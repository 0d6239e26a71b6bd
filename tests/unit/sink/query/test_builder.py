"""Golden statements: what the engine is asked, for every kind of filter. After a wanted change run with UPDATE_GOLDEN=1 and
read the difference."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.common.v1.query_pb2 import QueryFilter
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidInput
from sink.query import builder
from sink.query.builder import Statement
from sink.query.identity import Scope
from sink.query.ranges import NsRange

GOLDEN = Path(__file__).parent / "golden"
ALL = Scope("acme", None)
ONE = Scope("acme", ("web",))
TWO = Scope("acme", ("app", "web"))
ALWAYS = NsRange()
DAY = NsRange(1_750_000_000_000_000_000, 1_750_086_400_000_000_000)
EVERY_FILTER = QueryFilter(
    session_id="s'; DROP TABLE events --",
    agent_id="a",
    span_id="sp",
    trace_id="tr",
    types=[pb.EVENT_TYPE_ERROR, 77, pb.EVENT_TYPE_ERROR],
    statuses=[pb.EVENT_STATUS_FAILED],
    severities=[pb.SEVERITY_ERROR, pb.SEVERITY_WARN],
    tags=["env:prod", "b", "b"],
    text_query="Refund, ÜBER!",
)
FACT_FILTER = QueryFilter(session_id="s", agent_id="a", span_id="sp", trace_id="tr", text_query="needs SKILL")

DAY_NS = 86_400 * 10**9

CASES: dict[str, Callable[[], Statement]] = {
    "event_page_newest": lambda: builder.event_page(ALL, QueryFilter(), ALWAYS, False, None, 101),
    "event_page_newest_one_project": lambda: builder.event_page(ONE, QueryFilter(), ALWAYS, False, None, 101),
    "event_page_next_one_project": lambda: builder.event_page(
        ONE, QueryFilter(), ALWAYS, False, (17, 2**64 - 1, "web"), 3
    ),
    "event_page_next_oldest_first": lambda: builder.event_page(TWO, QueryFilter(), ALWAYS, True, (-17, 5, "app"), 3),
    "event_page_every_filter": lambda: builder.event_page(TWO, EVERY_FILTER, DAY, False, None, 51),
    "event_page_no_index_token": lambda: builder.event_page(ALL, QueryFilter(text_query="_"), ALWAYS, False, None, 64),
    "event_confirm": lambda: builder.event_confirm(ALL, QueryFilter(), [(17, 5, "web")]),
    "event_confirm_every_filter": lambda: builder.event_confirm(TWO, EVERY_FILTER, [(17, 5, "web"), (16, 4, "app")]),
    "event_payloads": lambda: builder.rows_at("event_payloads", ONE, [(17, 5, "web"), (16, 4, "web")]),
    "event_stats": lambda: builder.event_stats(TWO, ALWAYS),
    "event_stats_range": lambda: builder.event_stats(ONE, DAY),
    "stats_seen": lambda: Statement(builder.template("stats_seen").substitute(), {}),
    "stats_plan": lambda: builder.stats_plan(TWO, ALWAYS, range(-25_567, 106_752), 17),
    "stats_day": lambda: builder.stats_day(TWO, NsRange(DAY_NS, 2 * DAY_NS), 1, 17),
    "stats_days": lambda: builder.stats_days(TWO, ALWAYS, range(-25_567, 106_752), []),
    "stats_days_range": lambda: builder.stats_days(
        ONE, NsRange(DAY_NS - 1, 3 * DAY_NS + 1), range(1, 3), [("web", 2), ("web", 1)]
    ),
    "stats_days_whole": lambda: builder.stats_days(ALL, NsRange(DAY_NS, 3 * DAY_NS), range(1, 3), []),
    "handoff_page": lambda: builder.handoff_page(ALL, FACT_FILTER, DAY, False, (17, 5, 0, "h", "web"), 101),
    "handoff_rows": lambda: builder.rows_at("handoff_rows", ALL, [(17, 5, 0, "h", "web")]),
    "handoff_hops": lambda: builder.handoff_hops(TWO, [("web", "s")], [(17, 5, 0, "h", "web")]),
    "handoff_stats": lambda: builder.handoff_stats(ALL, ALWAYS),
    "handoff_stats_range": lambda: builder.handoff_stats(ONE, NsRange(DAY.start, None)),
    "mcp_page": lambda: builder.mcp_page(ONE, FACT_FILTER, DAY, True, (17, "c", "web"), 101),
    "mcp_page_statuses": lambda: builder.mcp_page(ALL, QueryFilter(statuses=[4, 3, 5, 99]), ALWAYS, False, None, 101),
    "mcp_rows": lambda: builder.rows_at("mcp_rows", ALL, [("c", "web")]),
    "mcp_stats": lambda: builder.mcp_stats(ALL, NsRange(None, DAY.end)),
}


def rendered(statement: Statement) -> str:
    parameters = json.dumps(statement.parameters, indent=1, sort_keys=True, ensure_ascii=False)
    return f"{statement.sql.strip()}\n\n-- parameters\n{parameters}\n"


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    text = rendered(CASES[name]())
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_no_golden_file_is_left_over() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_every_value_is_a_named_parameter_and_every_parameter_is_used(name: str) -> None:
    statement = CASES[name]()
    assert set(re.findall(r"\{(\w+):", statement.sql)) == set(statement.parameters)
    assert "$" not in statement.sql


TEXTS = st.text(max_size=20)


@given(TEXTS, TEXTS, TEXTS, st.lists(TEXTS, max_size=3), TEXTS)
def test_no_text_of_a_request_reaches_the_sql(session: str, agent: str, trace: str, tags: list[str], text: str) -> None:
    def sql(filters: QueryFilter) -> str:
        return builder.event_page(Scope("t", ("p",)), filters, ALWAYS, False, None, 1).sql

    marked = QueryFilter(
        session_id=f"\x01{session}",
        agent_id=f"\x01{agent}",
        trace_id=f"\x01{trace}",
        tags=[f"\x01{tag}" for tag in tags],
        text_query=f"word {text}",
    )
    plain = QueryFilter(session_id="a", agent_id="b", trace_id="c", tags=["d"] if tags else [], text_query="e")
    assert sql(marked) == sql(plain)


def test_filters_that_do_not_apply_are_named() -> None:
    filters = QueryFilter(types=[1], tags=["x"], session_id="s")
    with pytest.raises(InvalidInput) as caught:
        builder.refuse(filters, ("types", "statuses", "tags"), "filter")
    assert [violation.field for violation in caught.value.violations] == ["filter.types", "filter.tags"]
    builder.refuse(QueryFilter(session_id="s"), ("types", "statuses", "tags"), "filter")
