"""QueryEvents on the real engine, the cases one wants to read."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.common.v1.query_pb2 import SORT_ORDER_ASC, QueryFilter
from chaukas.spec.server.v1.server_pb2 import (
    GetEventStatsRequest,
    GetEventStatsResponse,
    QueryEventsRequest,
    QueryEventsResponse,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import InvalidInput, PermissionDenied
from contracts.identity import Identity
from contracts.identity import Scope as KeyScope
from contracts.topics import MIB
from runtime.settings import SinkSettings
from sink.query import events
from sink.query.builder import Statement
from sink.query.engine import Deadline, Engine
from sink.query.events import EventQueries
from sink.query.identity import Scope
from sink.query.listing import ListRequest
from sink.query.pages import TokenCodec
from sink.query.stats import EventStats
from sink.query.words import WORD_PATTERN, searchable
from sink.rows import map_events
from sink.store import Store
from tests.support.deep_event import deep_event
from tests.support.events import START_NS, event
from tests.support.stored import Copy, clear, insert, insert_copies

CALLER = Identity("t", None, frozenset({KeyScope.QUERY}))
CODEC = TokenCodec(b"k" * 32)


def request(size: int = 0, token: str = "", **filters: Any) -> QueryEventsRequest:
    made = QueryEventsRequest()
    made.query.page_size, made.query.page_token = size, token
    for name, value in filters.items():
        if isinstance(value, list):
            getattr(made.query.filter, name).extend(value)
        else:
            setattr(made.query.filter, name, value)
    return made


async def ask(engine: Engine, wanted: QueryEventsRequest, caller: Identity = CALLER) -> Any:
    data = await EventQueries(engine, CODEC).query_events(caller, wanted, Deadline.after(30))
    return QueryEventsResponse.FromString(data).response


async def ids(engine: Engine, caller: Identity = CALLER, **filters: Any) -> list[str]:
    return [found.event_id for found in (await ask(engine, request(**filters), caller)).events]


async def test_an_empty_store_answers_an_empty_page(engine: Engine) -> None:
    answer = await ask(engine, request())
    assert (list(answer.events), answer.next_page_token) == ([], "")


async def test_the_answer_holds_the_stored_bytes(store: Store, engine: Engine) -> None:
    """Unknown fields, order of fields and the appended extension come back as they were stored."""
    sent = event(event_id="a", message=pb.MessageContent(text="x"))
    unknown = b"\xfa\x7f\x03abc"
    sent.MergeFromString(unknown)
    copy = Copy(sent)
    insert_copies(store, [copy])
    data = await EventQueries(engine, CODEC).query_events(CALLER, request(), Deadline.after(30))
    assert copy.value in data
    assert unknown in data


async def test_an_event_stored_too_deep_costs_no_page(store: Store, engine: Engine) -> None:
    """An earlier version stored it; the mapping refuses it now, so the payload is put into the rows behind its back."""
    stored = [Copy(event(event_id=name, at_ns=START_NS + number)) for number, name in enumerate(("old", "deep", "new"))]
    rows = map_events([copy.record() for copy in stored]).table
    payloads = rows.column("raw").to_pylist()
    payloads[1] = deep_event("deep").SerializeToString()
    store_rows = rows.set_column(rows.schema.get_field_index("raw"), "raw", pa.array(payloads, pa.binary()))
    insert(store, "events", store_rows)
    answer = await ask(engine, request())
    assert [found.event_id for found in answer.events] == ["new", "deep", "old"]
    assert [found.HasField("metadata") for found in answer.events] == [False, False, False]


async def test_no_empty_last_page(store: Store, engine: Engine) -> None:
    insert_copies(store, [Copy(event(event_id=f"{number}", at_ns=START_NS + number)) for number in range(6)])
    first = await ask(engine, request(size=3))
    second = await ask(engine, request(size=3, token=first.next_page_token))
    assert [found.event_id for found in (*first.events, *second.events)] == list("543210")
    assert second.next_page_token == ""
    assert (await ask(engine, request(size=6))).next_page_token == ""


async def test_equal_times_in_several_projects_have_one_order(store: Store, engine: Engine) -> None:
    """The same id, content and time in many projects differ in the last column of the order alone."""
    copies = [Copy(event(event_id=f"{number % 4}", project=f"p{number // 4}"), 0, number) for number in range(40)]
    insert_copies(store, copies)
    for order in (0, SORT_ORDER_ASC):
        seen, token = [], ""
        while True:
            wanted = request(size=3, token=token)
            wanted.query.order_by_time = order
            answer = await ask(engine, wanted)
            seen += [(found.event_id, found.project_id) for found in answer.events]
            token = answer.next_page_token
            if not token:
                break
        assert len(seen) == 40
        assert len(set(seen)) == 40


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(0, 20), min_size=4, max_size=20),
    st.lists(st.lists(st.integers(0, 20), max_size=5), min_size=8, max_size=8),
    st.booleans(),
)
async def test_inserts_while_paging_neither_repeat_nor_skip(
    store: Store, engine: Engine, first: list[int], later: list[list[int]], ascending: bool
) -> None:
    clear(store)
    number = 0
    sent: list[Copy] = []

    def add(times: list[int]) -> set[str]:
        nonlocal number
        # Some of what is there comes again: the same record, and the same event under another position.
        copies = [*sent[::3], *(replace(copy, offset=copy.offset + 1000 + number) for copy in sent[1::3])]
        for at in times:
            number += 1
            copies.append(Copy(event(event_id=f"e{number}", at_ns=START_NS + at), 0, number))
            sent.append(copies[-1])
        if copies:
            insert_copies(store, copies)
        return {copy.event.event_id for copy in copies}

    there, seen, token = add(first), [], ""
    for inserts in (*later, *([[]] * 40)):
        wanted = request(size=3, token=token)
        wanted.query.order_by_time = SORT_ORDER_ASC if ascending else 0
        answer = await ask(engine, wanted)
        seen += [found.event_id for found in answer.events]
        token = answer.next_page_token
        if not token:
            break
        add(inserts)
    assert not token
    assert len(seen) == len(set(seen)), "an event was repeated"
    assert there <= set(seen), "an event that was there at the first page was skipped"


class Recorder(Engine):
    """Knows which statements ran; `between` runs once, before the statement that names positions."""

    between: Any = None

    async def rows(self, statement: Statement, deadline: Deadline) -> Any:
        self.asked = [*getattr(self, "asked", []), statement]
        if "positions" in statement.parameters and self.between is not None:
            now, self.between = self.between, None
            now()
        return await super().rows(statement, deadline)


async def test_a_replay_between_the_reads_of_a_page_takes_nothing_away(
    store: Store, sink_settings: SinkSettings
) -> None:
    """The rows that were proposed are now others of the same events."""
    copies = [Copy(event(event_id=f"{number}", at_ns=START_NS + number), 0, number, START_NS) for number in range(6)]
    insert_copies(store, copies)
    engine = Recorder(store, sink_settings)
    for earlier in (0, 1):
        again = [replace(copy, received_ns=START_NS - earlier) for copy in copies]
        engine.between = lambda again=again: insert_copies(store, again)
        assert await ids(engine) == list("543210")
        assert engine.between is None


async def test_only_rows_that_leave_have_their_payload_read(store: Store, sink_settings: SinkSettings) -> None:
    copies = [Copy(event(event_id=f"{number}", at_ns=START_NS + number), 0, number) for number in range(9)]
    insert_copies(store, copies)
    engine = Recorder(store, sink_settings)
    assert len((await ask(engine, request(size=4))).events) == 4
    reading = [one for one in engine.asked if re.search(r"\braw\b(?!\.size)", one.sql)]
    assert [len(one.parameters["positions"]) for one in reading] == [4]
    engine.asked.clear()
    assert not (await ask(engine, request(session_id="nobody"))).events
    assert len(engine.asked) == 1


async def test_answers_stay_under_three_mebibytes(store: Store, engine: Engine) -> None:
    big = "x" * (900 * 1024)
    copies = [
        Copy(event(event_id=f"{number}", at_ns=START_NS + number, message=pb.MessageContent(text=big)), 0, number)
        for number in range(8)
    ]
    insert_copies(store, copies)
    seen, token, sizes = [], "", []
    while True:
        data = await EventQueries(engine, CODEC).query_events(CALLER, request(size=5, token=token), Deadline.after(30))
        assert len(data) < 3 * MIB
        answer = QueryEventsResponse.FromString(data).response
        sizes.append(len(answer.events))
        seen += [found.event_id for found in answer.events]
        token = answer.next_page_token
        if not token:
            break
    assert seen == list("76543210")
    assert sizes == [3, 3, 2]


async def test_a_tombstone_hides_its_row_whatever_the_filter(store: Store, engine: Engine) -> None:
    """The tombstone's own columns are empty: an index must not be able to skip it and show the row again. That takes parts of
    several granules, or no index skips anything."""
    copies = [
        Copy(
            event(
                event_id=f"e{number}",
                at_ns=START_NS + number,
                tags=[f"tag{number}"],
                trace_id=f"trace{number}",
                message=pb.MessageContent(text=f"needle{number}"),
            ),
            0,
            number,
        )
        for number in range(20_000)
    ]
    insert_copies(store, copies)
    columns = "tenant_id, project_id, bucket, ts, event_id, canonical_sha256, received_at, raw_partition, raw_offset"
    store.writer.command(
        f"INSERT INTO events ({columns}, version, removed) SELECT {columns}, version + 1, 1 FROM events FINAL "
        "WHERE raw_offset < 10000"
    )
    for _ in range(2):
        for number in (5, 15_000):
            expected = [] if number < 10_000 else [f"e{number}"]
            assert await ids(engine, text_query=f"needle{number}") == expected
            assert await ids(engine, tags=[f"tag{number}"]) == expected
            assert await ids(engine, trace_id=f"trace{number}") == expected
            # Already the list must not have the row, not only the read of its payload.
            wanted = ListRequest(QueryFilter(text_query=f"needle{number}"), 9, "", False)
            page = await events._LISTING.page(engine, CODEC, Scope("t", None), wanted, Deadline.after(30))
            assert len(page.rows) == len(expected)
        assert len(await ids(engine)) == 100
        # Without a filter a tombstone is proposed like a row.
        oldest = ListRequest(QueryFilter(), 9, "", True)
        page = await events._LISTING.page(engine, CODEC, Scope("t", None), oldest, Deadline.after(30))
        assert [row.position[0] for row in page.rows] == [START_NS + number for number in range(10_000, 10_009)]
        store.writer.command("OPTIMIZE TABLE events FINAL")


async def test_the_first_copy_decides_also_about_its_status(store: Store, engine: Engine) -> None:
    """Copies of one content can differ in what the processors found out: a filter sees the one that is shown."""
    sent = event(event_id="a")
    first = Copy(sent, 0, 5, START_NS, pb.EVENT_STATUS_STARTED)
    second = Copy(sent, 0, 9, START_NS + 1, pb.EVENT_STATUS_FAILED)
    for order in ((first, second), (second, first)):
        clear(store)
        for copy in order:
            insert_copies(store, [copy])
        assert await ids(engine, statuses=[pb.EVENT_STATUS_STARTED]) == ["a"]
        assert await ids(engine, statuses=[pb.EVENT_STATUS_FAILED]) == []


async def test_copies_in_other_parts_are_counted_once(store: Store, engine: Engine) -> None:
    """Unmerged parts hold the same events: FINAL, not the merges, is what makes answers exact."""
    store.writer.command("SYSTEM STOP MERGES events")
    try:
        copies = [
            Copy(event(event_id=f"e{number}", session=f"s{number % 3}", at_ns=START_NS + number), 0, number)
            for number in range(9)
        ]
        for part in range(4):
            insert_copies(store, [replace(copy, offset=copy.offset + 100 * part) for copy in copies])
        assert store.writer.query("SELECT count() FROM events").result_rows == [(36,)]
        assert await ids(engine) == [f"e{number}" for number in range(8, -1, -1)]
        data = await EventStats(engine).get_event_stats(CALLER, GetEventStatsRequest(), Deadline.after(30))
        stats = GetEventStatsResponse.FromString(data)
        assert (stats.total_events, stats.total_sessions) == (9, 3)
        assert dict(stats.events_by_type) == {"EVENT_TYPE_AGENT_START": 9}
        assert stats.avg_session_duration_ms == pytest.approx(6e-6)
    finally:
        store.writer.command("SYSTEM START MERGES events")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["umlaut", "plain"]),
        ("?!", ["umlaut", "plain"]),
        ("😀", ["umlaut", "plain"]),
        ("zahlung ÜBERFÄLLIG", ["umlaut"]),
        ("überfällig", ["umlaut"]),
        ("fällig", []),
        ("ber", []),
        ("berf", []),
        ("it's", ["plain"]),
        ("it", []),
        ("example.com", ["plain"]),
        ("invoice-42", ["plain"]),
        ("42 INVOICE", ["plain"]),
        ("invoice 43", []),
        ("支払", ["umlaut"]),
        ("fin_bot", ["plain"]),
        ("_", []),
    ],
)
async def test_text_is_searched_by_whole_words(store: Store, engine: Engine, query: str, found: list[str]) -> None:
    insert_copies(
        store,
        [
            Copy(event(event_id="plain", at_ns=START_NS, agent_name="fin_bot", message=pb.MessageContent(text="It's paid: invoice-42, see example.com.")), 0, 1),
            Copy(event(event_id="umlaut", at_ns=START_NS + 1, message=pb.MessageContent(text="Zahlung überfällig! 支払い")), 0, 2),
        ],
    )  # fmt: skip
    assert await ids(engine, text_query=query) == found


WORDS = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=6)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(WORDS)
async def test_the_index_misses_no_word(store: Store, engine: Engine, pieces: list[str]) -> None:
    """Whatever text is stored, every single word of it finds it: the engine's own list of words is the oracle."""
    text = " ".join(pieces).replace("\x00", " ")
    clear(store)
    insert_copies(store, [Copy(event(event_id="a", message=pb.MessageContent(text=text)))])
    ((words,),) = store.writer.query(
        "SELECT extractAll(lowerUTF8(search_text), {word:String}) FROM events", parameters={"word": WORD_PATTERN}
    ).result_rows
    for word in dict.fromkeys(words):
        assert await ids(engine, text_query=f"… {word.upper() if word.isascii() else word}") == ["a"], repr(word)
    assert searchable(text) or not words


async def test_python_and_the_engine_agree_which_characters_make_words(store: Store) -> None:
    characters = [chr(code) for code in range(1, 0x30000) if not 0xD800 <= code < 0xE000]
    sql = "SELECT arrayMap(c -> notEmpty(extractAll(c, {word:String})), {chars:Array(String)})"
    for start in range(0, len(characters), 20_000):
        some = characters[start : start + 20_000]
        ((found,),) = store.writer.query(sql, parameters={"word": WORD_PATTERN, "chars": some}).result_rows
        wrong = [char for char, word in zip(some, found, strict=True) if word and not searchable(char)]
        assert wrong == [], "the engine sees words where the filter would be left out"


@pytest.mark.parametrize("token", ["x", "AAAA", "é", "AULyyCRiD_GU1R7LkNN8azdbMV0"])
async def test_a_forged_token_is_refused(engine: Engine, token: str) -> None:
    with pytest.raises(InvalidInput, match=r"query\.page_token"):
        await ask(engine, request(token=token))


async def test_a_token_does_not_travel(store: Store, engine: Engine) -> None:
    insert_copies(store, [Copy(event(event_id=f"{number}", project="p"), 0, number) for number in range(3)])
    token = (await ask(engine, request(size=1))).next_page_token
    assert len((await ask(engine, request(size=2, token=token))).events) == 2, "the page size may change"
    for changed in (request(token=token, session_id="s"), request(token=token, project_id="p")):
        with pytest.raises(InvalidInput):
            await ask(engine, changed)
    changed = request(token=token)
    changed.query.order_by_time = SORT_ORDER_ASC
    with pytest.raises(InvalidInput):
        await ask(engine, changed)
    for caller in (Identity("u", None, frozenset()), Identity("t", frozenset({"p"}), frozenset())):
        with pytest.raises(InvalidInput):
            await ask(engine, request(token=token), caller)


async def test_callers_see_their_tenant_and_projects_only(store: Store, engine: Engine) -> None:
    insert_copies(
        store,
        [
            Copy(event(event_id=f"{tenant}-{project}", tenant=tenant, project=project), 0, number)
            for number, (tenant, project) in enumerate([("t", "p"), ("t", "q"), ("t", ""), ("u", "p"), ("u", "q")])
        ],
    )
    some = Identity("t", frozenset({"p", ""}), frozenset())
    assert sorted(await ids(engine)) == ["t-", "t-p", "t-q"]
    assert sorted(await ids(engine, some)) == ["t-", "t-p"]
    assert await ids(engine, some, project_id="p") == ["t-p"]
    assert await ids(engine, Identity("t", frozenset(), frozenset())) == []
    assert await ids(engine, Identity("u", frozenset({"q"}), frozenset())) == ["u-q"]
    for caller, filters in ((some, {"project_id": "q"}), (CALLER, {"tenant_id": "u"})):
        with pytest.raises(PermissionDenied):
            await ids(engine, caller, **filters)


async def test_all_tags_must_be_there_and_any_type_may(store: Store, engine: Engine) -> None:
    kinds = [pb.EVENT_TYPE_ERROR, pb.EVENT_TYPE_SYSTEM, 77]
    insert_copies(
        store,
        [
            Copy(event(kind, event_id=f"{number}", at_ns=START_NS + number, tags=tags), 0, number)
            for number, (kind, tags) in enumerate(zip(kinds, (["a"], ["b", "a"], ["b", "A"]), strict=True))
        ],
    )
    assert await ids(engine, tags=["a"]) == ["1", "0"]
    assert await ids(engine, tags=["a", "b"]) == ["1"]
    assert await ids(engine, tags=["a", "c"]) == []
    assert await ids(engine, tags=[""]) == []
    assert await ids(engine, types=kinds[1:]) == ["2", "1"]
    assert await ids(engine, types=[4711]) == []


async def test_hostile_values_are_only_values(store: Store, engine: Engine) -> None:
    hostile = "x'); DROP TABLE events; -- \\ {a:String} %s ${b} \t\u2028\u202e\x7f"
    insert_copies(store, [Copy(event(event_id="a", session=hostile, trace_id=hostile, tags=[hostile]))])
    assert await ids(engine, session_id=hostile, trace_id=hostile, tags=[hostile, hostile]) == ["a"]
    assert await ids(engine, session_id=hostile + " ") == []
