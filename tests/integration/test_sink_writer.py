"""The sink's process on a real broker: nothing lost, nothing twice, whatever happens to it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb

from contracts.dead_letters import SourceRecord
from contracts.v1.dead_letter_pb2 import DeadLetter
from sink.migrate import load
from tests.support.broker import Broker
from tests.support.deep_event import deep_event
from tests.support.events import event, seeded_sessions
from tests.support.sink_process import SinkUnderTest
from tests.support.sink_records import enriched_record, fact_record, handoff_fact
from tests.support.waiting import wait_for


@pytest.fixture
def sink(kafka: Broker, tmp_path: Path) -> Iterator[SinkUnderTest]:
    settings = kafka.create_topics(f"sink-{uuid.uuid4().hex[:8]}.", 2)
    running = SinkUnderTest(settings, tmp_path)
    yield running
    running.close()


def records_of(sink: SinkUnderTest, seed: int, sessions: int = 20) -> list[SourceRecord]:
    """Enriched records with their facts; the raw position is the position on the enriched topic."""
    topics = sink.kafka.topics
    made: list[SourceRecord] = []
    offsets = [0, 0]
    for number, session in enumerate(seeded_sessions(seed, sessions, tenant="t", project="p")):
        partition = number % 2
        for one in session:
            raw = (partition, seed * 100_000 + offsets[partition])
            offsets[partition] += 1
            made.append(enriched_record(one, offset=raw[1], partition=partition, raw=raw, topics=topics))
            if one.HasField("agent_handoff"):
                made.append(fact_record(topics.handoffs, handoff_fact(one, raw=raw), partition=partition))
    return made


def event_ids(records: list[SourceRecord]) -> list[str]:
    return sorted(
        dict(record.headers)["event_id"].decode()  # type: ignore[union-attr]
        for record in records
        if dict(record.headers).get("event_id")
    )


def stored(sink: SinkUnderTest) -> list[str]:
    (rows,) = sink.rows("SELECT event_id FROM events FINAL ORDER BY event_id")
    return [row[0] for row in rows]


KILL_BEFORE_COMMIT = """
import os, signal
from sink.offsets import Offsets
Offsets.commit = lambda self, offsets, notes: os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_between_insert_and_commit_every_event_is_there_once(sink: SinkUnderTest) -> None:
    records = records_of(sink, 1)
    sink.produce(records)
    sink.start(program=KILL_BEFORE_COMMIT)
    assert sink.wait_dead() == -9
    assert stored(sink) != []
    assert sink.lag() == len(records)
    sink.start()
    sink.wait_committed()
    assert sink.stop() == 0
    assert stored(sink) == event_ids(records)
    ids, handoffs = sink.rows("SELECT count() FROM event_ids FINAL", "SELECT count() FROM handoffs FINAL")
    assert ids == [[len(event_ids(records))]]
    assert handoffs == [[len(records) - len(event_ids(records))]]


def test_copies_are_one_row_though_the_sink_was_killed_between_insert_and_commit(sink: SinkUnderTest) -> None:
    sink.environment["SINK_SETTLE_SECONDS"] = "3"
    topics = sink.kafka.topics
    first = event(event_id="e", session="one")
    changed = event(event_id="e", session="one", message=pb.MessageContent(text="changed"))
    elsewhere = event(event_id="e", session="two")
    copies = [
        enriched_record(elsewhere, offset=0, raw=(0, 0), received_ns=4_000, topics=topics),
        enriched_record(first, offset=0, raw=(0, 1), received_ns=3_000, topics=topics),
        enriched_record(first, offset=0, partition=1, raw=(1, 0), received_ns=1_000, topics=topics),
        enriched_record(first, offset=0, partition=1, raw=(1, 1), received_ns=2_000, resend_of=0, topics=topics),
        enriched_record(changed, offset=0, partition=1, raw=(1, 2), received_ns=2_500, conflicts_with=1, topics=topics),
    ]
    sink.produce(copies)
    sink.start(program=KILL_BEFORE_COMMIT)
    assert sink.wait_dead() == -9
    sink.start()
    sink.wait_committed()
    wait_for("settling", lambda: sink.metric("sink_settled_total") == 2)
    assert sink.stop() == 0
    fates = "SELECT raw_partition, raw_offset, fate FROM v_record_fates ORDER BY raw_partition, raw_offset"
    (found,) = sink.rows(fates)
    assert found == [[0, 0, "conflict"], [0, 1, "resend"], [1, 0, "stored"], [1, 1, "resend"], [1, 2, "conflict"]]
    (conflicts,) = sink.rows(
        "SELECT first_partition, first_offset, first_content_sha256 = (SELECT content_sha256 FROM events FINAL)"
        " FROM conflicts FINAL ORDER BY raw_partition"
    )
    assert conflicts == [[1, 0, 1], [1, 0, 1]]


def test_killed_at_any_time_every_event_is_there_once(sink: SinkUnderTest) -> None:
    sink.environment["SINK_BATCH_ROWS"] = "50"
    records: list[SourceRecord] = []
    for round_ in range(3):
        more = records_of(sink, 10 + round_)
        sink.produce(more)
        records += more
        sink.start()
        wait_for("some rows", lambda: sink.metric("sink_rows_stored_total") > 0)
        sink.kill()
    sink.start()
    sink.wait_committed()
    assert sink.stop() == 0
    assert stored(sink) == event_ids(records)


def test_what_cannot_be_stored_becomes_a_letter_and_costs_nobody_else(sink: SinkUnderTest) -> None:
    topics = sink.kafka.topics
    good = records_of(sink, 2, sessions=3)
    template = enriched_record(event(event_id="bad"), offset=0, topics=topics)
    without_headers = SourceRecord(topics.enriched, 0, 0, b"k", template.value, (), 0)
    unparseable = SourceRecord(topics.enriched, 0, 0, b"k", b"\xff\xff", template.headers, 0)
    too_deep = enriched_record(deep_event("deep"), offset=0, topics=topics)
    no_fact = SourceRecord(topics.mcp_calls, 1, 0, None, b"", (), 0)
    sink.produce([good[0], without_headers, unparseable, too_deep, *good[1:], no_fact])
    sink.start()
    sink.wait_committed()  # the letters too: they come back on the topic that the sink reads
    assert sink.stop() == 0
    assert stored(sink) == event_ids(good)
    (letters, contents) = sink.rows(
        "SELECT topic, reason, stage FROM dead_letters FINAL ORDER BY topic, reason",
        "SELECT hex(letter) FROM dead_letters FINAL WHERE reason = 'unparseable' ORDER BY offset",
    )
    assert letters == [
        [topics.enriched, "foreign_record", "sink"],
        [topics.enriched, "unparseable", "sink"],
        [topics.enriched, "unparseable", "sink"],
        [topics.mcp_calls, "invalid_fact", "sink"],
    ]
    letter = DeadLetter.FromString(bytes.fromhex(contents[0][0]))
    assert letter.value == b"\xff\xff"
    assert {header.name: header.value for header in letter.headers} == dict(template.headers)
    assert DeadLetter.FromString(bytes.fromhex(contents[1][0])).value == too_deep.value


def test_a_stop_finishes_what_it_has_begun(sink: SinkUnderTest) -> None:
    records = records_of(sink, 3)
    sink.environment["SINK_GRPC_PORT"] = "0"
    sink.start(role="all")
    wait_for("the sink to be ready", lambda: sink.ready().get("status") == "ready")
    sink.produce(records)
    wait_for("some rows", lambda: sink.metric("sink_rows_stored_total") > 0)
    assert sink.stop() == 0
    committed = len(records) - sink.lag()
    assert committed > 0
    sink.start()
    sink.wait_committed()
    assert sink.stop() == 0
    assert stored(sink) == event_ids(records)


STORE_AWAY = """
import pathlib
from clickhouse_connect.driver.exceptions import OperationalError
import sink.process as process
real = process.arrow_insert
def arrow_insert(client, timeout_seconds):
    insert = real(client, timeout_seconds)
    def try_insert(table, rows):
        if pathlib.Path({mark!r}).exists():
            raise OperationalError("connection refused")
        insert(table, rows)
    return try_insert
process.arrow_insert = arrow_insert
"""


def test_while_the_store_is_away_nothing_is_dropped_and_no_restart_is_needed(sink: SinkUnderTest) -> None:
    sink.environment |= {"SINK_BATCH_ROWS": "50", "KAFKA_MAX_POLL_INTERVAL_MS": "10000"}
    mark = sink.directory / "away"
    mark.touch()
    records = records_of(sink, 4)
    sink.produce(records)
    sink.start(program=STORE_AWAY.format(mark=str(mark)))
    wait_for("fetching to pause", lambda: sink.metric("sink_paused") == 1)
    wait_for("readiness to say so", lambda: "inserts into" in str(sink.ready()))
    failures = sink.metric("sink_insert_failures_total")
    wait_for("more attempts", lambda: sink.metric("sink_insert_failures_total") >= failures + 2)
    assert sink.lag() == len(records)
    mark.unlink()
    sink.wait_committed()
    wait_for("readiness", lambda: sink.ready().get("status") == "ready")
    assert sink.stop() == 0
    assert stored(sink) == event_ids(records)
    assert sink.rows("SELECT count() FROM dead_letters") == [[[0]]]


def test_a_stop_during_an_outage_gives_the_batch_up_and_commits_nothing(sink: SinkUnderTest) -> None:
    sink.environment["SINK_SHUTDOWN_SECONDS"] = "5"
    mark = sink.directory / "away"
    mark.touch()
    records = records_of(sink, 5, sessions=2)
    sink.produce(records)
    sink.start(program=STORE_AWAY.format(mark=str(mark)))
    wait_for("a failed insert", lambda: sink.metric("sink_insert_failures_total") > 0)
    assert sink.stop() == 0
    assert sink.lag() == len(records)
    mark.unlink()
    sink.start()
    sink.wait_committed()
    assert sink.stop() == 0
    assert stored(sink) == event_ids(records)


def test_copies_further_apart_than_the_window_are_settled_by_the_process(sink: SinkUnderTest) -> None:
    sink.environment["SINK_SETTLE_SECONDS"] = "3"
    topics = sink.kafka.topics
    first = event(event_id="e", session="one")
    other = event(event_id="e", session="two", message=pb.MessageContent(text="other"))
    sink.produce(
        [
            enriched_record(other, offset=0, raw=(0, 0), received_ns=2_000, topics=topics),
            enriched_record(first, offset=0, partition=1, raw=(1, 0), received_ns=1_000, topics=topics),
        ]
    )
    sink.start()
    wait_for("settling", lambda: sink.metric("sink_settled_total") == 1)
    assert sink.stop() == 0
    events, conflicts = sink.rows("SELECT session_id FROM events FINAL", "SELECT session_id FROM conflicts FINAL")
    assert (events, conflicts) == ([["one"]], [["two"]])


def test_the_directory_belongs_to_one_process(sink: SinkUnderTest) -> None:
    sink.start()
    wait_for("the sink to be ready", lambda: sink.ready().get("status") == "ready")
    second = SinkUnderTest(sink.kafka, sink.directory)
    second.directory = sink.directory / "second"
    second.directory.mkdir()
    second.environment["CLICKHOUSE_DSN"] = sink.dsn
    second.start()
    assert second.wait_dead() == 1
    assert f"in use by process {sink.process.pid}" in second.log  # type: ignore[union-attr]
    assert sink.stop() == 0


def run_sink(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sink", *arguments],
        env={**os.environ, "SINK_HTTP_PORT": "0", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_migrate_only_makes_the_schema_and_leaves(tmp_path: Path) -> None:
    dsn = f"chdb:///{tmp_path}"
    for expected in (len(load()), 0):
        done = run_sink(["--migrate-only"], CLICKHOUSE_DSN=dsn)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("migration applied") == expected


def test_migrate_only_that_is_stopped_before_the_store_answers_has_failed() -> None:
    environment = {**os.environ, "SINK_HTTP_PORT": "0", "CLICKHOUSE_DSN": "clickhouse://127.0.0.1:1/chaukas"}
    with subprocess.Popen(
        [sys.executable, "-m", "sink", "--migrate-only"], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert any("waiting for the store" in line for line in process.stderr)
        process.terminate()
        process.stderr.read()
    assert process.returncode == 1


def test_wrong_settings_end_it_with_a_clear_message() -> None:
    done = run_sink([], CLICKHOUSE_DSN="http://user:secret@host")
    assert (done.returncode, done.stderr.strip()) == (
        2,
        "CLICKHOUSE_DSN: must start with chdb://, clickhouse:// or clickhouses://",
    )
    done = run_sink([], SINK_BATCH_ROWS="0")
    assert done.returncode == 2
    assert "SINK_BATCH_ROWS='0'" in done.stderr
