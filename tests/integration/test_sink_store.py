"""The writer's half of the sink on the real engine: what comes in is what is there, once, and the first copy of it."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from prometheus_client import CollectorRegistry

from contracts.dead_letters import SourceRecord
from contracts.v1 import facts_pb2
from contracts.v1.dead_letter_pb2 import DeadLetter
from sink.batch import Batch
from sink.cluster import local_name
from sink.erase import Eraser, Target
from sink.metrics import SinkMetrics
from sink.migrate import load, migrate
from sink.prepare import prepare
from sink.settle import Settler
from sink.settlement import version_of
from sink.store import Store
from sink.tombstones import Erasures
from sink.writer import Writer, arrow_insert
from tests.integration.query.test_erase import CONTENT_TABLES, SECRET, SESSION, session_records
from tests.support.clickhouse_server import clickhouse_server
from tests.support.cluster_store import open_cluster
from tests.support.events import START_NS, event, seeded_sessions
from tests.support.sink_records import RECEIVED_NS, TOPICS, enriched_record, fact_record, handoff_fact

DAY_NS = 86_400 * 10**9


class NoLetters:
    """Fails the test when a row is refused."""

    def send(self, letters: Sequence[DeadLetter]) -> None:
        raise AssertionError(f"refused: {[letter.message for letter in letters]}")


class Sink:
    """The store with the writer and the settler on it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.metrics = SinkMetrics(CollectorRegistry())
        self.writer = Writer(arrow_insert(store.writer, 60), NoLetters(), self.metrics)
        self.settler = Settler(store.settler, self.metrics, margin_seconds=60)

    def write(self, records: Sequence[SourceRecord]) -> None:
        batch = Batch()
        for record in records:
            batch.add(record, 0.0)
        self.writer.store(prepare(batch, TOPICS), threading.Event())

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.store.settler.query(sql, column_formats={"raw": "bytes"}).result_rows]

    def empty(self) -> None:
        for name in ("events", "event_ids", "resends", "conflicts", "handoffs", "mcp_calls", "dead_letters"):
            table = local_name(name, self.store.cluster)
            self.store.settler.command(f"TRUNCATE TABLE {table}")
        self.store.settler.command("TRUNCATE TABLE settle_progress")


@pytest.fixture(scope="module", params=["embedded", "server", "cluster"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    directory: Path = tmp_path_factory.mktemp("clickhouse")
    with contextlib.ExitStack() as stack:
        if request.param == "server":
            store = Store.open(stack.enter_context(clickhouse_server(directory)).dsn("gateway"), readers=1)
        elif request.param == "cluster":
            store = open_cluster(directory)
        else:
            store = Store.open(f"chdb:///{directory}", readers=1)
        stack.callback(store.close)
        migrate(store.settler, cluster=store.cluster)
        yield Sink(store)


@pytest.fixture
def sink(opened: Sink) -> Sink:
    opened.empty()
    opened.settler = Settler(opened.store.settler, opened.metrics, margin_seconds=60)
    return opened


def test_every_row_holds_the_bytes_it_came_with(sink: Sink) -> None:
    events = [made for session in seeded_sessions(1, 20, tenant="t", project="p") for made in session]
    records = [enriched_record(made, offset=offset) for offset, made in enumerate(events)]
    sink.write(records)
    stored = sink.rows("SELECT raw_offset, raw FROM events FINAL ORDER BY raw_offset")
    assert stored == [(record.offset, record.value) for record in records]
    assert sink.rows("SELECT count() FROM v_events") == [(len(events),)]
    assert sink.rows("SELECT count() FROM event_ids FINAL") == [(len(events),)]


def test_bytes_that_are_no_text_survive(sink: Sink) -> None:
    made = event(event_id="bytes")
    made.extensions.add(type_url="x", value=bytes(range(256)))
    record = enriched_record(made, offset=1)
    sink.write([record])
    assert sink.rows("SELECT raw FROM events FINAL") == [(record.value,)]


def test_the_engine_computes_the_version_the_settler_reckons_with(sink: Sink) -> None:
    sink.write([enriched_record(event(event_id="a"), offset=7, raw=(3, 1 << 40))])
    assert sink.rows("SELECT toString(version) FROM events") == [(str(version_of(RECEIVED_NS, 3, 1 << 40)),)]
    assert sink.rows("SELECT toString(version) FROM event_ids") == [(str(version_of(RECEIVED_NS, 3, 1 << 40)),)]


def test_a_replay_from_the_beginning_changes_nothing(sink: Sink) -> None:
    events = [made for session in seeded_sessions(2, 10, tenant="t", project="p") for made in session]
    records = [enriched_record(made, offset=offset) for offset, made in enumerate(events)]
    facts = [
        fact_record(TOPICS.handoffs, handoff_fact(made, raw=(0, offset)), offset=offset)
        for offset, made in enumerate(events)
        if made.HasField("agent_handoff")
    ]
    tables = ("events", "event_ids", "handoffs", "resends", "conflicts")

    def everything() -> list[Any]:
        sql = "SELECT * EXCEPT ingested_at FROM {} FINAL ORDER BY ALL"
        return [sink.rows(sql.format(name)) for name in tables]

    sink.write(records + facts)
    before = everything()
    sink.write(records + facts)
    for record in records[:50]:
        sink.write([record])
    assert everything() == before
    assert sink.rows("SELECT count() FROM events FINAL") == [(len(events),)]


def copies_of(event_id: str, first_offset: int = 0) -> list[SourceRecord]:
    """Five copies, in the order of receipt: the first, the same again, another time, another session, another content."""
    first = event(event_id=event_id, message=pb.MessageContent(text="first"))
    later = event(event_id=event_id, message=pb.MessageContent(text="first"), at_ns=START_NS + 40 * DAY_NS)
    elsewhere = event(event_id=event_id, session="other", message=pb.MessageContent(text="first"))
    changed = event(event_id=event_id, message=pb.MessageContent(text="changed"))
    return [
        enriched_record(made, offset=first_offset + number, partition=number % 2, received_ns=RECEIVED_NS + number)
        for number, made in enumerate([first, first, later, elsewhere, changed])
    ]


def check_settled(sink: Sink, copies: Sequence[Sequence[SourceRecord]]) -> None:
    assert sink.rows("SELECT raw_offset, raw FROM events FINAL ORDER BY raw_offset") == [
        (records[0].offset, records[0].value) for records in copies
    ]
    assert sink.rows("SELECT count() FROM events FINAL WHERE hasAllTokens(lowerUTF8(search_text), 'changed')") == [(0,)]
    assert sink.rows("SELECT raw_offset, raw FROM conflicts FINAL ORDER BY raw_offset") == [
        (record.offset, record.value) for records in copies for record in records[2:]
    ]
    assert sink.rows("SELECT raw_offset, first_offset FROM resends FINAL ORDER BY raw_offset") == [
        (records[1].offset, records[0].offset) for records in copies
    ]
    fates = ("stored", "resend", "conflict", "conflict", "conflict")
    assert sink.rows("SELECT raw_offset, fate FROM v_record_fates ORDER BY raw_offset") == [
        (record.offset, fate) for records in copies for record, fate in zip(records, fates, strict=True)
    ]


@pytest.mark.parametrize("settle_between", [True, False])
def test_the_first_copy_wins_in_every_order_of_arrival(sink: Sink, settle_between: bool) -> None:
    orders = list(itertools.permutations(range(5)))
    copies = [copies_of(f"event-{number}", number * 10) for number in range(len(orders))]
    for step in range(5):
        sink.write([records[order[step]] for records, order in zip(copies, orders, strict=True)])
        if settle_between:
            sink.settler.settle()
    sink.settler.settle()
    check_settled(sink, copies)
    # A replay brings the losers back, and merges do not either.
    sink.write([record for records in copies for record in records])
    check_settled(sink, copies)
    sink.settler.settle()
    check_settled(sink, copies)
    sink.store.settler.command(f"OPTIMIZE TABLE {local_name('events', sink.store.cluster)} FINAL")
    check_settled(sink, copies)


def test_settling_again_finds_nothing(sink: Sink) -> None:
    sink.write(copies_of("e"))
    assert sink.settler.settle() == 4
    assert sink.settler.settle() == 0
    assert Settler(sink.store.settler, sink.metrics, margin_seconds=60).settle() == 0


def test_a_resend_without_a_timestamp_is_settled(sink: Sink) -> None:
    made = event(event_id="timeless", at_ns=None)
    sink.write([enriched_record(made, offset=0), enriched_record(made, offset=9, received_ns=RECEIVED_NS + 10**9)])
    assert sink.rows("SELECT count() FROM events FINAL") == [(2,)]
    assert sink.settler.settle() == 1
    assert sink.rows("SELECT raw_offset FROM events FINAL") == [(0,)]
    assert sink.rows("SELECT raw_offset FROM resends FINAL") == [(9,)]


def test_a_settled_pass_that_was_cut_off_is_done_again(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    records = copies_of("e")
    sink.write(records)

    def cut(_lost: object) -> None:
        raise OSError("cut off")

    for step in ("_hide", "_take_back", "_mark"):
        with monkeypatch.context() as patch:
            patch.setattr(sink.settler, step, cut)
            with pytest.raises(OSError, match="cut off"):
                sink.settler.settle()
    assert sink.settler.settle() == 4
    check_settled(sink, [records])


def test_ids_of_two_tenants_and_projects_do_not_meet(sink: Sink) -> None:
    sink.write(
        [
            enriched_record(event(event_id="same", tenant="a"), offset=0),
            enriched_record(event(event_id="same", tenant="b"), offset=1),
        ]
    )
    assert sink.settler.settle() == 0
    assert sink.rows("SELECT count() FROM events FINAL") == [(2,)]


def test_marked_copies_never_enter_events(sink: Sink) -> None:
    first = event(event_id="e", message=pb.MessageContent(text="first"))
    other = event(event_id="e", message=pb.MessageContent(text="other"))
    records = [
        enriched_record(first, offset=0),
        enriched_record(first, offset=1, resend_of=0),
        enriched_record(other, offset=2, conflicts_with=1),
    ]
    sink.write(records)
    assert sink.rows("SELECT raw_offset FROM events FINAL") == [(0,)]
    assert sink.rows("SELECT raw_offset, first_offset, marked_by FROM resends FINAL") == [(1, 0, "window")]
    assert sink.rows("SELECT raw_offset, first_offset, marked_by, raw FROM conflicts FINAL") == [
        (2, 1, "window", records[2].value)
    ]
    sink.settler.settle()
    assert sink.rows(
        "SELECT raw_offset, first_offset, first_content_sha256 = (SELECT content_sha256 FROM events) FROM conflicts FINAL"
    ) == [(2, 0, 1)]


def handoff(session: str, event_id: str, at_ns: int = START_NS) -> pb.Event:
    content = pb.AgentHandoff(from_agent_id="a", to_agent_id="b", reason="why")
    return event(
        pb.EVENT_TYPE_AGENT_HANDOFF,
        session=session,
        event_id=event_id,
        agent_id="a",
        agent_handoff=content,
        at_ns=at_ns,
    )


def test_the_handoff_of_a_copy_that_lost_goes_away_even_when_it_comes_late(sink: Sink) -> None:
    first, copy = handoff("s", "h"), handoff("s", "h", START_NS + 10**9)
    sink.write(
        [
            enriched_record(first, offset=0),
            enriched_record(copy, offset=90, received_ns=RECEIVED_NS + 1),
            fact_record(TOPICS.handoffs, handoff_fact(first, raw=(0, 0))),
        ]
    )
    sink.settler.settle()
    late = [handoff_fact(copy, raw=(0, 90)), handoff_fact(copy, raw=(0, 90), revision=2, latency_ms=1.0)]
    sink.write([fact_record(TOPICS.handoffs, fact, offset=number) for number, fact in enumerate(late)])
    assert sink.rows("SELECT handoff_id, source_offset FROM handoffs FINAL") == [("h", 0)]


def test_a_pickup_by_a_copy_that_lost_is_made_again(sink: Sink) -> None:
    gone = handoff("s", "h")
    picker = event(session="s", event_id="x", agent_id="b", at_ns=START_NS + 2 * 10**6)
    original = event(session="elsewhere", event_id="x", agent_id="b", at_ns=START_NS)
    real = event(session="s", event_id="y", agent_id="b", at_ns=START_NS + 5 * 10**6)
    fact = handoff_fact(gone, raw=(0, 1), revision=2, latency_ms=2.0, picked_up_event_id="x")
    fact.picked_up_at.CopyFrom(picker.timestamp)
    sink.write(
        [
            enriched_record(original, offset=0, partition=1),
            enriched_record(gone, offset=1, received_ns=RECEIVED_NS + 1),
            enriched_record(picker, offset=2, received_ns=RECEIVED_NS + 2),
            enriched_record(real, offset=3, received_ns=RECEIVED_NS + 3),
            fact_record(TOPICS.handoffs, fact),
        ]
    )
    assert sink.settler.settle() == 1
    wanted = [("h", "y", 5.0, 2)]
    sql = "SELECT handoff_id, picked_up_event_id, latency_ms, revision FROM handoffs FINAL"
    assert sink.rows(sql) == wanted
    sink.write([fact_record(TOPICS.handoffs, fact)])
    sink.settler.settle()
    assert sink.rows(sql) == wanted


def test_a_pickup_by_a_copy_that_lost_is_undone_when_nobody_else_came(sink: Sink) -> None:
    gone = handoff("s", "h")
    picker = event(session="s", event_id="x", agent_id="b", at_ns=START_NS + 2 * 10**6)
    fact = handoff_fact(gone, raw=(0, 1), revision=2, latency_ms=2.0, picked_up_event_id="x")
    fact.picked_up_at.CopyFrom(picker.timestamp)
    sink.write(
        [
            enriched_record(event(session="elsewhere", event_id="x", agent_id="b"), offset=0, partition=1),
            enriched_record(gone, offset=1, received_ns=RECEIVED_NS + 1),
            enriched_record(picker, offset=2, received_ns=RECEIVED_NS + 2),
            fact_record(TOPICS.handoffs, fact),
        ]
    )
    sink.settler.settle()
    assert sink.rows("SELECT picked_up_event_id, picked_up_at, latency_ms, revision FROM handoffs FINAL") == [
        ("", None, None, 1)
    ]


def mcp_fact(status: int, revision: int, start: int | None, end: int | None, **fields: Any) -> facts_pb2.McpCallFact:
    fact = facts_pb2.McpCallFact(
        **{"call_id": "c", "tenant_id": "t", "project_id": "p", "session_id": "s", "status": status, **fields},
        revision=revision,
    )
    if start is not None:
        fact.start_event_id = f"start-{start}"
        fact.started_at.FromNanoseconds(START_NS + start)
        fact.start_source.partition, fact.start_source.offset = 0, start
    if end is not None:
        fact.end_event_id = f"end-{end}"
        fact.ended_at.FromNanoseconds(START_NS + end)
        fact.end_source.partition, fact.end_source.offset = 0, end
    return fact


OPEN, OK, ORPHAN = facts_pb2.MCP_CALL_STATUS_OPEN, facts_pb2.MCP_CALL_STATUS_OK, facts_pb2.MCP_CALL_STATUS_ORPHAN_END


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::6])
def test_the_highest_revision_of_a_call_wins_in_every_order(sink: Sink, order: tuple[int, ...]) -> None:
    facts = [
        mcp_fact(OPEN, 1, 1, None),
        mcp_fact(ORPHAN, 2, None, 5),
        mcp_fact(OK, 3, 1, 5, measured_ms=4.0),
        mcp_fact(OK, 3, 1, 9, measured_ms=8.0),
    ]
    for number in order:
        sink.write([fact_record(TOPICS.mcp_calls, facts[number], offset=number)])
    assert sink.rows("SELECT call_id, status, measured_ms, start_offset, end_offset FROM mcp_calls FINAL") == [
        ("c", OK, 4.0, 1, 5)
    ]


@pytest.mark.parametrize(
    ("lost_type", "lost_offset", "facts", "left"),
    [
        ("start", 50, [mcp_fact(OPEN, 1, 50, None)], []),
        (
            "start",
            50,
            [mcp_fact(OPEN, 1, 50, None), mcp_fact(OK, 3, 50, 60, measured_ms=1.0)],
            [(ORPHAN, "", "end-60", None, None, 60)],
        ),
        ("end", 60, [mcp_fact(OK, 3, 50, 60, measured_ms=1.0)], [(OPEN, "start-50", "", None, 50, None)]),
        ("end", 60, [mcp_fact(ORPHAN, 2, None, 60)], []),
    ],
)
def test_the_half_of_a_call_that_lost_goes_away(
    sink: Sink, lost_type: str, lost_offset: int, facts: list[Any], left: list[Any]
) -> None:
    kind = pb.EVENT_TYPE_MCP_CALL_START if lost_type == "start" else pb.EVENT_TYPE_MCP_CALL_END
    sink.write(
        [
            enriched_record(event(kind, event_id="x"), offset=0),
            enriched_record(
                event(kind, event_id="x", at_ns=START_NS + 1), offset=lost_offset, received_ns=RECEIVED_NS + 1
            ),
        ]
    )
    records = [fact_record(TOPICS.mcp_calls, fact, offset=number) for number, fact in enumerate(facts)]
    sink.settler.settle()
    sink.write(records)  # late: after their event had lost
    sql = "SELECT status, start_event_id, end_event_id, measured_ms, start_offset, end_offset FROM mcp_calls FINAL"
    sink.settler.settle()
    assert sink.rows(sql) == left
    sink.write(records)
    assert sink.rows(sql) == left


def test_a_copy_in_another_partition_of_the_table_is_still_one_row(sink: Sink) -> None:
    made = event(event_id="bucket")
    sink.write([enriched_record(made, offset=0)])
    sink.write([enriched_record(made, offset=1, received_ns=RECEIVED_NS + 400 * DAY_NS)])
    assert sink.rows("SELECT uniqExact(bucket) FROM events") == [(2,)]
    assert sink.rows("SELECT raw_offset FROM events FINAL") == [(0,)]
    sink.settler.settle()
    assert sink.rows("SELECT raw_offset FROM events FINAL") == [(0,)]
    assert sink.rows("SELECT raw_offset FROM resends FINAL") == [(1,)]


def test_times_of_clients_cannot_make_partitions(sink: Sink) -> None:
    events = [event(event_id=str(number), at_ns=number * 90 * DAY_NS) for number in range(200)]
    odd = event(event_id="far")
    odd.timestamp.seconds = -62_135_596_800
    sink.write([enriched_record(made, offset=number) for number, made in enumerate([*events, odd])])
    assert sink.rows("SELECT uniqExact(bucket) < 5, count() FROM events FINAL") == [(1, 201)]
    assert sink.rows("SELECT toYear(min(ts)) FROM events FINAL") == [(1900,)]


def test_every_statement_for_a_cluster_is_one_the_engine_reads(sink: Sink) -> None:
    for migration in load():
        for statement in migration.rendered("gw"):
            sink.rows(f"EXPLAIN AST {statement}")
            if "AS SELECT" not in statement:
                assert "ON CLUSTER `gw`" in statement


def test_the_content_of_an_erased_session_is_gone_and_stays_away(sink: Sink) -> None:
    """On each kind of store; what exactly is left is told by tests/integration/query/test_erase.py."""
    records = session_records(SESSION, 0)
    sink.write(records)
    fates = "SELECT * FROM v_record_fates ORDER BY ALL"
    before = sink.rows(fates)
    erasures = Erasures(sink.store.writer)
    eraser = Eraser(sink.store.settler, sink.store.cluster, erasures)
    report = eraser.erase(Target("t", session_id=SESSION))
    assert report.rows == {"events": 4, "conflicts": 1, "handoffs": 1, "mcp_calls": 1, "dead_letters": 1}
    batch = Batch()
    batch.extend(records, 0.0)
    Writer(arrow_insert(sink.store.writer, 60), NoLetters(), sink.metrics, erasures=Erasures(sink.store.writer)).store(
        prepare(batch, TOPICS), threading.Event()
    )
    for table in CONTENT_TABLES:
        name = local_name(table, sink.store.cluster)
        content = sink.store.settler.raw_query(
            f"SELECT * FROM {name} SETTINGS apply_deleted_mask = 0 FORMAT TabSeparated"
        )
        assert SESSION.encode() in content
        assert SECRET.encode() not in content, table
    assert sink.rows(fates) == before
    assert eraser.sweep() == 0
