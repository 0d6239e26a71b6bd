"""The same loop, when partitions are given away, lost or taken over."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from prometheus_client import CollectorRegistry

from contracts.flood import RUN
from runtime.health import Readiness
from runtime.settings import KafkaSettings, load
from sink.batch import BatchPolicy
from sink.consumer import build
from sink.metrics import SinkMetrics
from tests.support.events import event
from tests.support.sink_records import TOPICS, enriched_record
from tests.support.waiting import wait_for
from tests.unit.sink.consumer_loop import POLICY, FakeMessage, FakeWriter, Loop


def test_on_revoke_what_was_mapped_ahead_goes_with_its_partition(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sink.ahead.CHUNK", 1)
    loop.loop._policy = replace(POLICY, max_rows=10)
    loop.poll(0)
    loop.poll(5, partition=1)
    for _ in range(2):
        loop.loop.turn()
    loop.loop._on_revoke(loop.consumer, [TopicPartition(TOPICS.enriched, 0)])  # type: ignore[arg-type]
    loop.now = 100.0
    loop.loop.turn()
    wait_for("the insert", lambda: loop.writer.begun)
    assert [source.offset for source in loop.writer.begun[0].tables[0].sources] == [5]


def test_on_revoke_the_mapped_batch_keeps_the_others_records(loop: Loop) -> None:
    loop.poll(0, 1)
    loop.loop.turn()
    loop.poll(2)
    loop.poll(8, partition=1)
    for _ in range(2):
        loop.loop.turn()
    assert loop.loop._mapped is not None
    loop.stored()
    loop.loop._on_revoke(loop.consumer, [TopicPartition(TOPICS.enriched, 0)])  # type: ignore[arg-type]
    loop.loop.turn()
    wait_for("the insert", lambda: len(loop.writer.begun) == 2)
    assert loop.writer.begun[1].next_offsets == {(TOPICS.enriched, 1): 9}


def test_letters_of_a_partition_that_was_given_away_are_counted_anew(loop: Loop) -> None:
    good = enriched_record(event(event_id="0"), offset=0)
    bad = [FakeMessage(good._replace(offset=number, headers=())) for number in range(RUN)]
    loop.loop._policy = BatchPolicy(max_rows=RUN - 1, max_bytes=1 << 20, max_age_seconds=10.0)
    loop.consumer.polls.append(bad[:-1])
    loop.loop.turn()
    loop.stored()
    loop.loop._on_revoke(loop.consumer, [TopicPartition(TOPICS.enriched, 0)])  # type: ignore[arg-type]
    loop.consumer.polls.append(bad[-1:])
    loop.loop.turn()
    loop.now = 10.0
    loop.loop.turn()
    wait_for("the insert", lambda: len(loop.writer.begun) == 2)


def test_on_revoke_the_running_insert_is_committed_and_the_open_batch_forgotten(loop: Loop) -> None:
    loop.poll(0, 1)
    loop.loop.turn()
    loop.poll(2)
    loop.loop.turn()
    loop.stored()
    loop.loop._on_revoke(loop.consumer, [TopicPartition(TOPICS.enriched, 0)])  # type: ignore[arg-type]
    assert loop.consumer.commits == [{(TOPICS.enriched, 0): 2}]
    loop.now = 100.0
    loop.loop.turn()
    assert loop.loop._inserts.running is None, "offset 2 belongs to somebody else now"
    assert len(loop.writer.begun) == 1


def test_a_revoke_waits_for_an_insert_that_is_about_to_end(loop: Loop) -> None:
    loop.loop._revoke_seconds = 60.0
    loop.poll(0, 1)
    loop.loop.turn()
    wait_for("the insert to begin", lambda: loop.writer.begun)
    ending = threading.Timer(0.2, loop.writer.go.release)
    ending.start()
    loop.loop._on_revoke(loop.consumer, [TopicPartition(TOPICS.enriched, 0)])  # type: ignore[arg-type]
    ending.join()
    assert loop.consumer.commits == [{(TOPICS.enriched, 0): 2}]


def test_on_revoke_an_insert_that_does_not_end_is_given_up_without_a_commit(loop: Loop) -> None:
    loop.poll(0, 1)
    loop.loop.turn()
    loop.loop._on_revoke(loop.consumer, [TopicPartition(TOPICS.enriched, 0)])  # type: ignore[arg-type]
    running = loop.loop._inserts.running
    assert running is not None
    wait_for("the insert to give up", running.future.done)
    loop.loop.turn()
    assert loop.consumer.commits == []


def test_partitions_that_are_lost_are_not_committed_even_when_the_insert_ends(loop: Loop) -> None:
    loop.poll(0, 1)
    loop.loop.turn()
    wait_for("the insert to begin", lambda: loop.writer.begun)
    loop.writer.go.release()
    running = loop.loop._inserts.running
    assert running is not None
    wait_for("the insert", running.future.done)
    loop.loop._on_lost(loop.consumer, [TopicPartition(TOPICS.enriched, 0)])  # type: ignore[arg-type]
    loop.loop.turn()
    assert loop.consumer.commits == []


def test_a_revoke_of_one_partition_keeps_the_others_records(loop: Loop) -> None:
    loop.poll(5, partition=1)
    loop.loop.turn()
    loop.loop._on_revoke(loop.consumer, [TopicPartition(TOPICS.enriched, 0)])  # type: ignore[arg-type]
    loop.now = 100.0
    loop.loop.turn()
    wait_for("the insert", lambda: loop.writer.begun)
    assert loop.writer.begun[0].next_offsets == {(TOPICS.enriched, 1): 6}


def test_a_commit_that_failed_is_forgotten_with_its_partition(loop: Loop) -> None:
    loop.consumer.refusals = [KafkaException(KafkaError(KafkaError._TRANSPORT))]
    loop.poll(0)
    loop.poll(7, partition=1)
    for _ in range(2):
        loop.loop.turn()
    loop.stored()
    loop.loop.turn()
    loop.loop._on_revoke(loop.consumer, [TopicPartition(TOPICS.enriched, 0)])  # type: ignore[arg-type]
    loop.now = 100.0
    loop.loop.turn()
    assert loop.consumer.commits == [{(TOPICS.enriched, 1): 8}]


@pytest.mark.parametrize(("interval", "asked", "bound"), [("", 7.0, 7.0), ("", 420.0, 150.0), ("20000", 60.0, 10.0)])
def test_a_revoke_never_waits_until_the_group_has_given_this_member_up(
    monkeypatch: pytest.MonkeyPatch, interval: str, asked: float, bound: float
) -> None:
    monkeypatch.setenv("KAFKA_MAX_POLL_INTERVAL_MS", interval)
    writer: Any = FakeWriter()
    metrics = SinkMetrics(CollectorRegistry())
    loop = build(load(KafkaSettings), "g", writer, POLICY, metrics, Readiness(), revoke_seconds=asked)
    assert loop._revoke_seconds == bound
    loop._consumer.close()
    loop._inserts.close()
