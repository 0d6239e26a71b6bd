"""Workers as processes on real Kafka: what arrives is what the oracle says, also after kills, restarts and a full replay."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb

from runtime.kafka import admin, ensure_topics
from tests.support.broker import Broker
from tests.support.processors import RawTopic, Workers, free_port
from tests.support.processors_check import check, metrics, ready, traffic
from tests.support.waiting import wait_for

WINDOW = 150


@pytest.fixture
def workers(kafka: Broker, tmp_path: Path) -> Iterator[Workers]:
    settings = kafka.create_topics(f"proc-{uuid.uuid4().hex[:8]}.", partitions=3)
    with Workers(settings, tmp_path, WINDOW) as made:
        yield made


def test_enriched_and_facts_are_what_the_oracle_says(workers: Workers) -> None:
    raw = RawTopic(workers.kafka)
    raw.send(traffic(1, 60))
    # One record of every kind that cannot be processed, between good ones.
    raw.send_bytes(b"\xff\xff\xffjunk", b"k", [])
    raw.send_bytes(b"\xff\xff\xffjunk", b"k", [("tenant_id", b"t1")])
    raw.send_bytes(None, b"k", None)
    lone = pb.Event(event_id="e", tenant_id="t1", type=pb.EVENT_TYPE_SYSTEM)
    raw.send_bytes(lone.SerializeToString(), None, [("tenant_id", b"t1")])
    raw.send(traffic(2, 10))
    worker = workers.start()
    workers.wait_until_done()
    assert check(workers) == 0
    wait_for("readiness", lambda: ready(worker))
    shown = metrics(worker)
    assert 'chaukas_processors_dead_letters_total{reason="foreign_record"} 3.0' in shown
    assert "chaukas_processors_redeliveries_total 0.0" in shown
    lags = [line for line in shown.splitlines() if line.startswith("chaukas_processors_consumer_lag_records{")]
    assert [line.rsplit(" ", 1)[1] for line in lags] == ["0.0"] * 3
    assert worker.stop() == 0
    again = workers.start()  # after a graceful stop nothing is repeated
    wait_for("readiness", lambda: ready(again))
    assert workers.lag() == 0
    assert check(workers) == 0


def test_a_full_replay_gives_the_same_bytes(workers: Workers) -> None:
    RawTopic(workers.kafka).send(traffic(3, 30))
    workers.start(PROCESSORS_BATCH_RECORDS="7")  # other batches than the replay's
    workers.wait_until_done()
    enriched = len(workers.read(workers.kafka.topics.enriched))
    workers.running[0].kill()
    with Workers(workers.kafka, workers.directory, WINDOW) as replay:
        replay.start()
        replay.wait_until_done()
    assert check(workers) == enriched


def test_killed_under_traffic_nothing_is_lost_and_copies_are_identical(workers: Workers) -> None:
    """Two workers, kill -9 in turns while records arrive; now and then a SIGTERM."""
    events = traffic(4, 160)
    sending = threading.Thread(target=_send_slowly, args=(RawTopic(workers.kafka), events))
    alive = [workers.start(), workers.start()]
    sending.start()
    rng = random.Random(4)
    uncommitted = 0
    for round_number in range(4):
        processed = sum(workers.ends(workers.kafka.topics.enriched).values())
        wait_for(
            "progress between two kills",
            lambda before=processed: (
                sum(workers.ends(workers.kafka.topics.enriched).values()) > before + 50  # type: ignore[misc]
                or not sending.is_alive()
            ),
            every=0.1 + rng.random() / 10,
        )
        victim = alive.pop(0)
        if round_number == 2:
            wait_for("it to have started", lambda v=victim: ready(v))  # type: ignore[misc]
            assert victim.stop() == 0
        else:
            victim.kill()
            uncommitted += workers.lag()
        alive.append(workers.start())
    sending.join()
    workers.wait_until_done()
    assert (
        check(workers) <= uncommitted
    )  # a kill repeats nothing that was committed; a SIGTERM, a rebalance: nothing at all
    assert all(worker.stop() == 0 for worker in alive)


def _send_slowly(raw: RawTopic, events: list[Any]) -> None:
    for first in range(0, len(events), 50):
        raw.send(events[first : first + 50])
        time.sleep(0.15)


def test_the_broker_may_die(kafka: Broker, workers: Workers) -> None:
    raw = RawTopic(workers.kafka)
    events = traffic(5, 60)
    worker = workers.start()
    raw.send(events[:500])
    wait_for("some output", lambda: sum(workers.ends(workers.kafka.topics.enriched).values()) > 0)
    kafka.kill()
    try:
        wait_for("the worker to see it", lambda: not ready(worker))
    finally:
        kafka.start()
    raw.send(events[500:])
    workers.wait_until_done()
    check(workers)
    wait_for("readiness", lambda: ready(worker))
    assert worker.stop() == 0


def test_a_flood_of_dead_letters_stops_until_it_is_accepted(workers: Workers) -> None:
    raw = RawTopic(workers.kafka)
    for number in range(150):
        raw.send_bytes(b"\xffjunk", b"one-partition", [("n", str(number).encode())], flush=False)
    raw.flush()
    for _ in range(2):  # a restart stops at the same record
        worker = workers.start()
        assert worker.exit_status() == 1
        assert "100 records in a row" in worker.log.read_text()
        assert workers.lag() == 150
    until = datetime.now(UTC) + timedelta(seconds=1)
    workers.start(PROCESSORS_DEAD_LETTERS_ACCEPTED_UNTIL=until.isoformat())
    workers.wait_until_done()
    check(workers)


def test_a_worker_that_makes_no_progress_ends(workers: Workers) -> None:
    """Nothing can be delivered while a topic is away: the watchdog fires, and nothing is lost by it."""
    worker = workers.start(PROCESSORS_STALL_SECONDS="3")
    wait_for("the worker to be ready", lambda: ready(worker))
    enriched = workers.kafka.topics.enriched
    client = admin(workers.kafka)  # kept: its end would end the request
    client.delete_topics([enriched], operation_timeout=20)[enriched].result(30)
    RawTopic(workers.kafka).send(traffic(6, 20))
    assert worker.exit_status() == 75
    assert ensure_topics(workers.kafka) == [enriched]
    workers.start()
    workers.wait_until_done()
    check(workers)


@pytest.mark.parametrize(
    ("settings", "status", "message"),
    [
        ({"PROCESSORS_WINDOW_OFFSETS": "none"}, 78, "PROCESSORS_WINDOW_OFFSETS='none'"),
        ({"KAFKA_TOPIC_PREFIX": "nobody-made-these."}, 78, "does not exist"),
        ({"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}, 75, "does not answer"),
    ],
    ids=["setting", "topics", "brokers"],
)
def test_a_start_that_cannot_work_says_why(
    workers: Workers, settings: dict[str, str], status: int, message: str
) -> None:
    worker = workers.start(**settings)
    assert worker.exit_status() == status
    assert message in worker.log.read_text()


def test_logs_are_json_without_content(workers: Workers) -> None:
    event = pb.Event(event_id="sesame", tenant_id="t1", session_id="opensesame", type=pb.EVENT_TYPE_SYSTEM)
    raw = RawTopic(workers.kafka)
    raw.send([event])
    raw.send_bytes(b"\xffopensesame", b"opensesame", [])
    worker = workers.start()
    workers.wait_until_done()
    assert worker.stop() == 0
    text = worker.log.read_text()
    assert "sesame" not in text
    assert all(json.loads(line) for line in text.splitlines())
