"""Floods, the operator's word, and replays, on a real broker with real processes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts import headers as h
from contracts.v1.enrichment_pb2 import Enrichment
from runtime.kafka import admin
from tests.support.broker import Broker
from tests.support.dlq import Dlq, letters_on
from tests.support.events import event
from tests.support.processors import RawTopic, Workers
from tests.support.processors_check import ready
from tests.support.sink_process import SinkUnderTest
from tests.support.sink_records import enriched_record
from tests.support.waiting import wait_for

JUNK = 150


@pytest.fixture
def workers(kafka: Broker, tmp_path: Path) -> Iterator[Workers]:
    settings = kafka.create_topics(f"dlq-{uuid.uuid4().hex[:8]}.", partitions=2)
    with Workers(settings, tmp_path, 500) as made:
        yield made


@pytest.fixture
def dlq(workers: Workers) -> Dlq:
    return Dlq(workers.kafka)


@pytest.fixture
def sink(workers: Workers, tmp_path: Path) -> Iterator[SinkUnderTest]:
    running = SinkUnderTest(workers.kafka, tmp_path)
    yield running
    running.close()


def junk(raw: RawTopic, number: int = JUNK) -> None:
    for one in range(number):
        raw.send_bytes(b"\xffjunk", b"one-partition", [("tenant_id", f"t{one % 3}".encode())], flush=False)
    raw.flush()


def test_a_flood_never_drains_the_topic_crash_by_crash(workers: Workers, dlq: Dlq) -> None:
    raw = RawTopic(workers.kafka)
    good = [event(event_id=f"good-{number}", session="s") for number in range(5)]
    raw.send(good)
    junk(raw)
    committed, distinct = [], []
    for _ in range(5):
        worker = workers.start(PROCESSORS_BATCH_RECORDS="20", PROCESSORS_SHUTDOWN_SECONDS="1")
        assert worker.exit_status() == 1
        assert "chaukas-gateway dlq accept --stage processors --until now" in worker.log.read_text()
        committed.append(len(good) + JUNK - workers.lag())
        distinct.append(len({letter.dead_letter_id for letter in letters_on(workers)}))
    # What earlier batches of the run held is committed; the hundredth record of it never is.
    assert len(set(committed[1:])) == 1
    assert committed[-1] < len(good) + 100
    assert max(distinct) < 100
    assert len(set(distinct[1:])) == 1

    said = dlq.run("accept", "--stage", "processors", "--until", "now").output
    assert said.startswith("processors: dead letters of records before ")
    workers.start()
    workers.wait_until_done()
    rows = dlq.rows()
    assert len(rows) == JUNK
    assert {(row["stage"], row["topic"]) for row in rows} == {("processors", workers.kafka.topics.raw)}
    # A later run counts again.
    junk(raw)
    assert workers.running[-1].exit_status() == 1


def test_a_running_worker_hears_what_an_operator_accepts(workers: Workers, dlq: Dlq) -> None:
    worker = workers.start()
    wait_for("the worker to be ready", lambda: ready(worker))
    dlq.run("accept", "--until", "2100-01-01")
    assert "already" not in dlq.run("accept", "--until", "now").output
    junk(RawTopic(workers.kafka))
    workers.wait_until_done()
    assert len(dlq.rows("--stage", "processors")) == JUNK


def test_a_cluster_without_the_control_topic_has_accepted_nothing(workers: Workers, dlq: Dlq) -> None:
    topic = workers.kafka.topics.control
    client = admin(workers.kafka)  # kept: its end would end the request
    client.delete_topics([topic], operation_timeout=20)[topic].result(30)
    junk(RawTopic(workers.kafka))
    assert workers.start().exit_status() == 1
    assert "topics ensure" in dlq.run("accept", "--until", "now", exit_code=3).output


def test_a_replayed_event_keeps_its_id_and_is_stored_once(workers: Workers, dlq: Dlq, sink: SinkUnderTest) -> None:
    """Also when its client re-sent it meanwhile, and when the replay is repeated."""
    events = [event(event_id=f"e{number}", session=f"s{number % 4}", tenant="t", project="p") for number in range(20)]
    raw = RawTopic(workers.kafka)
    raw.send(events)
    broken = workers.start(module="tests.support.faulty_worker", FAULT="step-fails")
    workers.wait_until_done()
    assert broken.stop() == 0
    assert {row["reason"] for row in dlq.rows()} == {"step_failed"}
    workers.start()
    raw.send(events[:7])  # re-sends of what nobody stored
    workers.wait_until_done()
    sink.start()
    assert "20 records to" in dlq.run("replay", "--dry-run").output
    assert "--yes" in dlq.run("replay", exit_code=2).output
    done = dlq.run("replay", "--yes").output
    assert f"20 records delivered to {workers.kafka.topics.raw}" in done
    summary = json.loads(dlq.run("replay", "--yes", "--json", "--limit", "5").stdout)
    assert sum(summary["delivered"].values()) == 5
    workers.wait_until_done()
    sink.wait_committed()
    assert sink.stop() == 0
    (rows,) = sink.rows("SELECT event_id FROM events FINAL ORDER BY event_id")
    assert [row[0] for row in rows] == sorted(one.event_id for one in events)
    assert {row["event_id"] for row in _shown(dlq, 2)} <= {one.event_id for one in events}
    raws = workers.read(workers.kafka.topics.raw)
    replayed = [record for record in raws if h.REPLAY_OF in dict(record.headers)]
    originals = {record.value: record for record in raws if record not in replayed}
    assert len(replayed) == 25
    for record in replayed:
        original = originals[record.value]
        assert (record.partition, record.key) == (original.partition, original.key)
        assert record.headers[:-1] == original.headers


def _shown(dlq: Dlq, number: int) -> list[dict[str, str]]:
    found = []
    for row in dlq.rows()[:number]:
        shown = json.loads(dlq.run("show", row["dead_letter_id"], "--value", "--json").stdout)
        assert shown["raw"] == {name: row[name] for name in ("topic", "partition", "offset")}
        found.append(shown["event"])
    return found


REFUSING = """
import pathlib
from clickhouse_connect.driver.exceptions import DatabaseError
import sink.process as process
real = process.arrow_insert
def arrow_insert(client, timeout_seconds):
    insert = real(client, timeout_seconds)
    def try_insert(table, rows):
        if table == "events" and pathlib.Path({mark!r}).exists():
            raise DatabaseError("refused", code=321)
        insert(table, rows)
    return try_insert
process.arrow_insert = arrow_insert
"""


def test_a_store_that_refuses_everybodys_rows_stops_the_sink_and_keeps_it_stopped(
    workers: Workers, dlq: Dlq, sink: SinkUnderTest
) -> None:
    """Ten rows a batch: the refused rows of many batches, and of many starts, add up."""
    topics = workers.kafka.topics
    records = [
        enriched_record(event(event_id=f"e{n}", tenant=f"t{n % 3}"), offset=n, raw=(1, 1000 + n), topics=topics)
        for n in range(JUNK)
    ]
    mark = sink.directory / "refusing"
    mark.touch()
    sink.environment["SINK_BATCH_ROWS"] = "10"
    sink.produce(records)
    lags, letters = [], []
    for _ in range(4):
        sink.start(program=REFUSING.format(mark=str(mark)))
        assert sink.wait_dead() == 1
        (ends,) = [sum(workers.ends(topics.dead_letters).values())]
        letters.append(ends)
        lags.append(sink.lag())
    assert "chaukas-gateway dlq accept --stage sink --until now" in sink.log
    rows = dlq.rows("--stage", "sink", "--reason", "row_refused")
    assert len(rows) < 100
    assert [row["copies"] for row in rows] == [1] * len(rows), "not even repeats"
    assert len(set(letters)) == 1
    assert len(set(lags)) == 1

    mark.unlink()  # the cause is gone
    sink.start()
    sink.wait_committed()
    shown = json.loads(dlq.run("show", rows[0]["dead_letter_id"], "--json").stdout)
    assert (shown["topic"], shown["partition"]) == (topics.enriched, 0)
    assert shown["raw"] == {"topic": topics.raw, "partition": 1, "offset": 1000 + shown["offset"]}
    assert f"delivered to {topics.enriched}" in dlq.run("replay", "--stage", "sink", "--yes").output
    sink.wait_committed()
    assert sink.stop() == 0
    (stored,) = sink.rows("SELECT event_id, raw_offset FROM events FINAL ORDER BY raw_offset")
    assert stored == [[f"e{n}", 1000 + n] for n in range(JUNK)]
    enrichments = [
        Enrichment.FromString(dict(record.headers)[h.ENRICHMENT] or b"") for record in workers.read(topics.enriched)
    ]
    assert {one.raw.offset for one in enrichments} == {1000 + n for n in range(JUNK)}


def test_one_tenants_refused_rows_stop_nobody(workers: Workers, dlq: Dlq, sink: SinkUnderTest) -> None:
    topics = workers.kafka.topics
    bad = [
        enriched_record(event(event_id=f"b{n}", tenant="bad"), offset=n, topics=topics)._replace(value=b"\xff")
        for n in range(JUNK)
    ]
    good = [enriched_record(event(event_id=f"g{n}", tenant="good"), offset=n, topics=topics) for n in range(JUNK)]
    sink.produce([one for pair in zip(bad, good, strict=True) for one in pair] + bad)
    sink.start()
    sink.wait_committed()
    assert sink.metric("sink_dead_letters_total") == 2 * JUNK
    assert sink.metric("sink_dead_letter_alarms_total") == 1
    assert "one tenant's records cannot be stored" in sink.log
    assert sink.stop() == 0
    (rows,) = sink.rows("SELECT count() FROM events FINAL")
    assert rows == [[JUNK]]
    assert {row["tenant_id"] for row in dlq.rows()} == {"bad"}
