"""Consumers that are stuck: seen with a client of the watchdog's own."""

from __future__ import annotations

import uuid
from pathlib import Path

from runtime.settings import KafkaSettings, load
from runtime.unread import kafka_unread
from tests.support.broker import Broker
from tests.support.events import event
from tests.support.processors import RawTopic, Workers
from tests.support.waiting import wait_for


def test_a_worker_that_reads_nothing_although_there_is_something_ends(kafka: Broker, tmp_path: Path) -> None:
    settings = kafka.create_topics(f"stuck-{uuid.uuid4().hex[:8]}.", 2)
    with Workers(settings, tmp_path) as workers:
        worker = workers.start(module="tests.support.faulty_worker", FAULT="deaf", PROCESSORS_STALL_SECONDS="3")
        raw = RawTopic(settings)
        raw.send([event(event_id="first")])
        wait_for("the worker to commit", lambda: workers.lag() == 0)
        raw.send(event(event_id=f"e{number}") for number in range(4))
        assert worker.exit_status() == 75
        assert "nothing was read" in worker.log.read_text()
        workers.start()
        workers.wait_until_done()
        topic = settings.topics.raw
        ask = kafka_unread(settings)
        (filled,) = [number for number, end in workers.ends(topic).items() if end]
        assert ask({(topic, filled): 2, (topic, 1 - filled): 0}) == 3
        assert ask({(topic, filled): None, (topic, 1 - filled): None}) == 5
        assert ask({(topic, filled): 5}) == 0
        assert ask({}) == 0


def test_without_kafka_nothing_is_known() -> None:
    ask = kafka_unread(load(KafkaSettings, bootstrap_servers="127.0.0.1:1"))
    assert ask({}) is None
    assert ask({("raw", 0): 1}) is None
