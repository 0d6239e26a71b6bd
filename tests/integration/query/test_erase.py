"""Erasure on a real engine: what is gone, from where, what stays, and that nothing brings it back."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.common.v1.query_pb2 import QueryFilter, QueryRequest
from chaukas.spec.server.v1 import server_pb2
from google.protobuf.struct_pb2 import Struct
from prometheus_client import CollectorRegistry

from contracts.dead_letters import Reason, SourceRecord, Stage, build
from contracts.errors import InvalidInput
from contracts.identity import Identity, Scope
from contracts.v1 import facts_pb2, insights_pb2
from contracts.v1.dead_letter_pb2 import DeadLetter
from runtime.settings import SinkSettings
from sink.batch import Batch
from sink.erase import Eraser, Target
from sink.metrics import SinkMetrics
from sink.prepare import prepare
from sink.query.engine import Deadline, Engine
from sink.query.events import EventQueries
from sink.query.handoffs import HandoffQueries
from sink.query.mcp_calls import McpQueries
from sink.query.pages import TokenCodec
from sink.query.stats import EventStats
from sink.retention import Hold, Retention
from sink.settle import Settler
from sink.store import Store
from sink.tombstones import Erasures
from sink.writer import Writer, arrow_insert
from tests.support.events import START_NS, event
from tests.support.sink_records import RECEIVED_NS, TOPICS, enriched_record, fact_record, handoff_fact

SECOND = 10**9
#: Random, so that no compression can write it in another way than byte for byte.
SECRET = secrets.token_urlsafe(30)
SESSION, OTHER = "erased-session", "other-session"
CONTENT_TABLES = ("events", "conflicts", "handoffs", "mcp_calls", "dead_letters")
#: 2026, after everything below.
NOW_NS = int(datetime(2026, 11, 30, tzinfo=UTC).timestamp()) * SECOND


@pytest.fixture(autouse=True)
def nothing_held(store: Store) -> Iterator[None]:
    store.writer.command("TRUNCATE TABLE legal_holds")
    yield


def planted(
    number: int, session: str = SESSION, tenant: str = "t", project: str = "p", at: int = 0, **more: Any
) -> pb.Event:
    made = event(
        pb.EVENT_TYPE_TOOL_CALL_END,
        tenant=tenant,
        project=project,
        session=session,
        event_id=f"{tenant}-{project}-{session}-{number}",
        at_ns=START_NS + (at or number) * SECOND,
        tags=[f"tag {SECRET}"],
        tool_response=pb.ToolResponse(error_message=f"failed for {SECRET}", http_status=500),
        **more,
    )
    made.metadata.update({"user_id": f"user-of-{session}", "note": SECRET})
    return made


def mcp_fact(session: str, number: int) -> facts_pb2.McpCallFact:
    fact = facts_pb2.McpCallFact(
        call_id=f"call-{session}-{number}",
        start_event_id=f"t-p-{session}-{number}",
        tenant_id="t",
        project_id="p",
        session_id=session,
        server_name="files",
        server_url=f"https://{SECRET}@files",
        error_message=SECRET,
        status=facts_pb2.MCP_CALL_STATUS_OPEN,
        revision=1,
    )
    fact.started_at.FromNanoseconds(START_NS + number * SECOND)
    fact.start_source.topic, fact.start_source.partition, fact.start_source.offset = TOPICS.raw, 0, number
    return fact


def letter(source: SourceRecord) -> SourceRecord:
    made = build(source, Stage.PROCESSORS, Reason.STEP_FAILED, "why")
    return SourceRecord(
        TOPICS.dead_letters, 0, source.offset, source.key, made.SerializeToString(), (), source.timestamp_ms
    )


def session_records(session: str, first: int) -> list[SourceRecord]:
    """Everything a session can leave in the store; raw offsets from `first` on."""
    plain = [planted(number, session) for number in range(3)]
    records = [enriched_record(one, offset=first + number) for number, one in enumerate(plain)]
    conflict = planted(0, session, at=1)
    records.append(enriched_record(conflict, offset=first + 3, conflicts_with=first))
    records.append(enriched_record(plain[1], offset=first + 4, resend_of=first + 1))
    handoff = event(
        pb.EVENT_TYPE_AGENT_HANDOFF,
        session=session,
        event_id=f"handoff-{session}",
        at_ns=START_NS + 5 * SECOND,
        agent_handoff=pb.AgentHandoff(from_agent_id="a", to_agent_id="b", reason=f"because of {SECRET}"),
    )
    records.append(enriched_record(handoff, offset=first + 5))
    records.append(fact_record(TOPICS.handoffs, handoff_fact(handoff, raw=(0, first + 5))))
    records.append(fact_record(TOPICS.mcp_calls, mcp_fact(session, 1)))
    records.append(letter(enriched_record(planted(9, session), offset=first + 6)))
    return records


class Letters:
    def __init__(self) -> None:
        self.sent: list[DeadLetter] = []

    def send(self, letters: Sequence[DeadLetter]) -> None:
        self.sent += letters


def write(store: Store, erasures: Erasures, records: Sequence[SourceRecord]) -> list[DeadLetter]:
    """As the writer does."""
    batch, letters = Batch(), Letters()
    batch.extend(records, 0.0)
    writer = Writer(arrow_insert(store.writer, 60), letters, SinkMetrics(CollectorRegistry()), erasures=erasures)
    writer.store(prepare(batch, TOPICS), threading.Event())
    return letters.sent


def eraser(store: Store, erasures: Erasures | None = None) -> Eraser:
    return Eraser(store.settler, "", erasures, ["$.metadata.user_id"], clock_ns=lambda: NOW_NS)


def everything(store: Store, table: str) -> bytes:
    """Every row that is in an active part, superseded and lightly deleted ones too."""
    raw: bytes = store.settler.raw_query(f"SELECT * FROM {table} SETTINGS apply_deleted_mask = 0 FORMAT TabSeparated")
    return raw


def assert_gone(store: Store, session: str = SESSION) -> None:
    for table in CONTENT_TABLES:
        field = session.encode() if table == "dead_letters" else f"\t{session}\t".encode()
        found = [line for line in everything(store, table).splitlines() if SECRET.encode() in line and field in line]
        assert [line for line in found if b"u-p-" not in line] == [], table


def rows(store: Store, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in store.settler.query(sql).result_rows]


#: Everything that must be as before: who, when, where, how many.
SAME = {
    "events": "SELECT * EXCEPT (raw, search_text, error_message, policy_rationale, datasource, tags, document_ids, erasure_id, "
    "ingested_at), event_hash, session_hash FROM events FINAL ORDER BY ALL",
    "conflicts": "SELECT * EXCEPT (raw, erasure_id) FROM conflicts FINAL ORDER BY ALL",
    "resends": "SELECT * FROM resends FINAL ORDER BY ALL",
    "handoffs": "SELECT * EXCEPT (reason, erasure_id) FROM handoffs FINAL ORDER BY ALL",
    "mcp_calls": "SELECT * EXCEPT (error_message, server_url, erasure_id) FROM mcp_calls FINAL ORDER BY ALL",
    "dead_letters": "SELECT * EXCEPT (letter, erasure_id, ingested_at) FROM dead_letters FINAL ORDER BY ALL",
    "fates": "SELECT * FROM v_record_fates ORDER BY ALL",
    "ids": "SELECT * EXCEPT ingested_at FROM event_ids FINAL ORDER BY ALL",
}


def same(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    return {name: rows(store, sql) for name, sql in SAME.items()}


@pytest.fixture
def filled(store: Store) -> list[SourceRecord]:
    """Two sessions of a tenant, and one of the same name of another; all records."""
    records = session_records(SESSION, 0) + session_records(OTHER, 100)
    records += [enriched_record(planted(0, SESSION, tenant="u"), offset=200)]
    write(store, Erasures(), records)
    assert SECRET.encode() in everything(store, "events")
    return records


def test_the_content_is_gone_and_everything_else_stays(store: Store, filled: list[SourceRecord]) -> None:
    before = same(store)
    counted = eraser(store).erase(Target("t", session_id=SESSION), dry_run=True)
    assert same(store) == before
    report = eraser(store).erase(Target("t", session_id=SESSION), "request 7")
    assert (
        report.rows == counted.rows == {"events": 4, "conflicts": 1, "handoffs": 1, "mcp_calls": 1, "dead_letters": 1}
    )
    assert same(store) == before
    assert_gone(store)
    others = b"".join(everything(store, table) for table in CONTENT_TABLES)
    assert others.count(b"t-p-other-session-1") and SECRET.encode() in others, "nothing of others was touched"
    assert rows(store, "SELECT count() FROM events WHERE erasure_id = '' AND tenant_id = 'u'") == [(1,)]
    assert eraser(store).erase(Target("t", session_id=SESSION)).rows == {}, "there is nothing left to erase"


def test_no_byte_of_it_is_left_in_a_part_that_is_in_use(store: Store) -> None:
    """Those that are not go when the engine's time for that is over: `old_parts_lifetime`, 8 minutes by default."""
    write(store, Erasures(), session_records(SESSION, 0))
    (path,) = {
        Path(row[0]).parents[2]
        for row in rows(store, "SELECT path FROM system.parts WHERE table = 'events' AND active LIMIT 1")
    }

    def with_secret() -> set[Path]:
        """Parts that have a file with it."""
        files = [Path(place) / name for place, _, names in os.walk(path) for name in names]
        return {file.parent for file in files if SECRET.encode() in _read(file)}

    def in_use() -> set[Path]:
        found = rows(store, "SELECT path FROM system.parts WHERE active AND database = currentDatabase()")
        return {Path(row[0]) for row in found}

    assert with_secret() & in_use(), "it can be seen on disk"
    eraser(store).erase(Target("t", session_id=SESSION))
    assert with_secret() & in_use() == set()
    assert with_secret() <= {Path(row[0]) for row in rows(store, "SELECT path FROM system.parts WHERE NOT active")}


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def test_a_replay_from_the_beginning_brings_nothing_back(store: Store, filled: list[SourceRecord]) -> None:
    before = same(store)
    erasures = Erasures(store.writer)
    eraser(store, erasures).erase(Target("t", session_id=SESSION))
    for writing in (erasures, Erasures(store.writer)):  # the second one is that of a process started again
        assert write(store, writing, filled) == []
        assert_gone(store)
    now = same(store)
    for unchanged in ("conflicts", "handoffs", "mcp_calls"):  # but for when they were stored
        assert [row[:3] for row in now.pop(unchanged)] == [row[:3] for row in before.pop(unchanged)]
    del now["resends"], before["resends"]
    assert now == before


def test_a_writer_elsewhere_hears_of_it_and_what_it_did_before_is_swept(
    store: Store, filled: list[SourceRecord]
) -> None:
    clock = 0.0
    elsewhere = Erasures(store.writer, clock=lambda: clock)
    write(store, elsewhere, filled[:1])
    eraser(store).erase(Target("t", session_id=SESSION))
    write(store, elsewhere, filled)  # it has not heard yet
    assert SECRET.encode() in everything(store, "events")
    assert eraser(store).sweep() > 0
    assert_gone(store)
    assert eraser(store).sweep() == 0
    clock = 1.0
    write(store, elsewhere, filled)
    assert_gone(store)


def test_a_late_copy_is_erased_and_what_happens_later_is_not(store: Store, filled: list[SourceRecord]) -> None:
    erasures = Erasures()
    eraser(store, erasures).erase(Target("t", session_id=SESSION))
    after = NOW_NS + 60 * SECOND
    late = planted(1)  # sent again after the erasure, with its own old time
    conflict = planted(2)
    conflict.tags.append("changed")
    new = planted(50, at=(NOW_NS - START_NS) // SECOND + 60)
    write(
        store,
        erasures,
        [
            enriched_record(late, offset=300, received_ns=after),
            enriched_record(conflict, offset=301, received_ns=after, conflicts_with=2),
            enriched_record(new, offset=302, received_ns=after),
        ],
    )
    left = rows(
        store,
        f"SELECT raw_offset, erasure_id = '' FROM events FINAL WHERE position(raw, '{SECRET}') > 0 AND session_id = '{SESSION}' AND tenant_id = 't'",
    )
    assert left == [(302, 1)]
    assert rows(
        store, f"SELECT count() FROM conflicts WHERE position(raw, '{SECRET}') > 0 AND session_id = '{SESSION}'"
    ) == [(0,)]


def test_what_a_clock_in_the_future_wrote_is_erased_for_good(store: Store) -> None:
    future = planted(1, at=(NOW_NS - START_NS) // SECOND + 10**6)
    records = [enriched_record(future, offset=0)]
    write(store, Erasures(), records)
    erasures = Erasures()
    eraser(store, erasures).erase(Target("t", session_id=SESSION))
    write(store, erasures, records)
    assert_gone(store)


def test_settling_takes_what_was_erased_for_what_it_is(store: Store, filled: list[SourceRecord]) -> None:
    """Neither a copy of itself, nor content moved to another table."""
    other_time = planted(1, at=77)
    write(store, Erasures(), [enriched_record(other_time, offset=400, received_ns=RECEIVED_NS + 1)])
    eraser(store).erase(Target("t", session_id=SESSION))
    settler = Settler(store.settler, SinkMetrics(CollectorRegistry()), margin_seconds=60)
    assert settler.settle() == 1
    assert settler.settle() == 0
    assert_gone(store)
    fates = rows(
        store,
        "SELECT raw_offset, fate FROM v_record_fates WHERE tenant_id = 't' AND raw_offset IN (1, 400) ORDER BY ALL",
    )
    assert fates == [(1, "stored"), (400, "conflict")]


def test_the_letters_of_an_erased_session_withhold(store: Store, filled: list[SourceRecord]) -> None:
    erasures = Erasures()
    eraser(store, erasures).erase(Target("t", session_id=SESSION))
    (data,) = [
        row[0]
        for row in store.settler.query(
            "SELECT letter FROM dead_letters FINAL WHERE erasure_id != ''", column_formats={"letter": "bytes"}
        ).result_rows
    ]
    kept = DeadLetter.FromString(data)
    assert (kept.withheld, kept.value, kept.offset) == (True, b"", 6)
    assert {header.name for header in kept.headers} == {
        "tenant_id",
        "project_id",
        "event_id",
        "received_at_ns",
        "schema",
    }
    # A new one of the sink's own, for a record it cannot read.
    broken = enriched_record(planted(8), offset=500)._replace(value=b"\xff" + SECRET.encode())
    (sent,) = write(store, erasures, [broken])
    assert (sent.withheld, sent.value) == (True, b"")


def test_a_subject_is_its_sessions(store: Store) -> None:
    whose = "user-of-erased-session"
    alone = planted(3, "", at=3)
    alone.metadata.update({"user_id": whose})
    mentioned = planted(4, "third-session")
    mentioned.metadata.update({"user_id": "somebody", "note": f"{SECRET} talks about {whose}"})
    records = [*session_records(SESSION, 0), *session_records(OTHER, 100)]
    records += [enriched_record(alone, offset=201), enriched_record(mentioned, offset=202)]
    write(store, Erasures(), records)
    report = eraser(store).erase(Target("t", subject=whose), "art. 17")
    assert report.sessions == [SESSION]
    assert report.rows == {"events": 5, "conflicts": 1, "handoffs": 1, "mcp_calls": 1, "dead_letters": 1}
    assert_gone(store)
    left = rows(store, "SELECT DISTINCT session_id FROM events FINAL WHERE erasure_id = '' ORDER BY 1")
    assert left == [(OTHER,), ("third-session",)]
    assert whose.encode() not in everything(store, "erasures"), "the subject itself is not kept"
    assert len(rows(store, "SELECT * FROM v_erasures WHERE reason = 'art. 17'")) == 3
    write(store, Erasures(store.writer), records)
    assert_gone(store)
    assert rows(store, "SELECT count() FROM events WHERE session_id = '' AND erasure_id = ''") == [(0,)]


def test_a_subject_may_be_a_number(store: Store) -> None:
    records = []
    for number, (session, named) in enumerate([("a", 4711), ("b", "4711"), ("c", "47112"), ("d", 47.11)]):
        one = planted(1, session)
        one.metadata.update({"user_id": named, "another": 4711})
        records.append(enriched_record(one, offset=number))
    write(store, Erasures(), records)
    assert eraser(store).erase(Target("t", subject="4711"), dry_run=True).sessions == ["a", "b"]
    assert eraser(store).erase(Target("t", subject="47.11"), dry_run=True).sessions == ["d"]


def test_only_in_the_project_that_is_named(store: Store) -> None:
    records = [enriched_record(planted(n, project=project), offset=n) for n, project in enumerate("pq")]
    write(store, Erasures(), records)
    eraser(store).erase(Target("t", "q", SESSION))
    write(store, Erasures(store.writer), records)
    assert rows(store, "SELECT project_id FROM events FINAL WHERE erasure_id = ''") == [("p",)]


def test_a_legal_hold_forbids_it(store: Store, filled: list[SourceRecord]) -> None:
    retention = Retention(store.settler)
    before = everything(store, "events")
    for hold in (Hold("t", ""), Hold("t", SESSION, "case 7")):
        retention.hold(hold)
        for target in (Target("t", session_id=SESSION), Target("t", subject="user-of-erased-session")):
            for dry_run in (False, True):
                with pytest.raises(InvalidInput, match="legal hold"):
                    eraser(store).erase(target, dry_run=dry_run)
        assert bool(hold.session_id) == (eraser_allows(store, Target("t", session_id=OTHER)))
        retention.release(hold)
    assert everything(store, "events") == before
    assert rows(store, "SELECT count() FROM erasures") == [(0,)]
    eraser(store).erase(Target("t", session_id=SESSION))
    assert_gone(store)


def eraser_allows(store: Store, target: Target) -> bool:
    try:
        return bool(eraser(store).erase(target, dry_run=True).rows)
    except InvalidInput:
        return False


async def test_answers_show_that_it_was_erased(
    store: Store, engine: Engine, filled: list[SourceRecord], sink_settings: SinkSettings
) -> None:
    caller, deadline = Identity("t", None, frozenset(Scope)), Deadline.after(60)
    codec = TokenCodec(b"k" * 32)

    async def statistics() -> bytes:
        return await EventStats(engine).get_event_stats(caller, server_pb2.GetEventStatsRequest(), deadline)

    async def query(**filters: Any) -> list[pb.Event]:
        request = server_pb2.QueryEventsRequest(query=QueryRequest(filter=QueryFilter(**filters)))
        answer = await EventQueries(engine, codec).query_events(caller, request, deadline)
        return list(server_pb2.QueryEventsResponse.FromString(answer).response.events)

    counted, listed = await statistics(), await query(session_id=SESSION)
    report = eraser(store).erase(Target("t", session_id=SESSION), "request 7")
    assert await statistics() == counted
    found = await query(session_id=SESSION)
    assert [one.event_id for one in found] == [one.event_id for one in listed]
    for one, was in zip(found, listed, strict=True):
        assert SECRET.encode() not in one.SerializeToString()
        told = Struct()
        assert one.extensions[0].Unpack(told)
        facts: Any = told["chaukas.gateway"]
        assert (facts["erased"]["erasure_id"], facts["erased"]["reason"]) == (report.erasure_id, "request 7")
        assert (one.type, one.timestamp, one.session_id, one.agent_id) == (
            was.type,
            was.timestamp,
            was.session_id,
            was.agent_id,
        )
    assert {one.session_id for one in await query(text_query="failed")} == {OTHER}
    handoffs = await HandoffQueries(engine, codec).list_handoffs(caller, insights_pb2.ListHandoffsRequest(), deadline)
    reasons = {one.session_id: one.reason for one in insights_pb2.ListHandoffsResponse.FromString(handoffs).handoffs}
    assert (reasons[SESSION], SECRET in reasons[OTHER]) == ("", True)
    calls = await McpQueries(engine, codec).list_mcp_calls(caller, insights_pb2.ListMcpCallsRequest(), deadline)
    urls = {one.session_id: one.server_url for one in insights_pb2.ListMcpCallsResponse.FromString(calls).calls}
    assert (urls[SESSION], SECRET in urls[OTHER]) == ("", True)


def test_an_erasure_that_was_cut_off_is_done_again(
    store: Store, filled: list[SourceRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(Exception):
        pass

    def cut(*_: Any) -> None:
        raise Cut

    before = same(store)
    broken = eraser(store)
    monkeypatch.setattr(broken, "_delete", cut)
    with pytest.raises(Cut):
        broken.erase(Target("t", session_id=SESSION))
    (shown,) = rows(
        store,
        f"SELECT countIf(erasure_id != ''), count() FROM events FINAL WHERE session_id = '{SESSION}' AND tenant_id = 't'",
    )
    assert shown == (4, 4), "already nobody sees it"
    eraser(store).erase(Target("t", session_id=SESSION))
    assert_gone(store)
    assert same(store) == before
