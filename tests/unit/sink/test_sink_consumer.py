"""The loop against a broker and a writer that do what the test says. No thread sleeps, no clock runs by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from contracts.flood import RUN, Flood
from runtime.settings import KafkaSettings, load
from sink.batch import BatchPolicy
from sink.consumer import PAUSE_AFTER_SECONDS
from sink.flood import FloodOfDeadLetters
from sink.intake import consumer_config, subscription
from tests.support.events import event
from tests.support.sink_records import TOPICS, enriched_record
from tests.support.waiting import wait_for
from tests.unit.sink.consumer_loop import POLICY, FakeMessage, Loop


def test_a_batch_waits_for_its_age_and_is_committed_after_its_insert(loop: Loop) -> None:
    loop.poll(0)
    loop.loop.turn()
    assert loop.writer.begun == []
    loop.now = 10.0
    loop.loop.turn()
    wait_for("the insert to begin", lambda: loop.writer.begun)
    loop.loop.turn()
    assert loop.consumer.commits == [], "nothing is committed before the insert returned"
    loop.stored()
    loop.loop.turn()
    assert loop.consumer.commits == [{(TOPICS.enriched, 0): 1}]
    assert loop.metrics.freshness_seconds._sum.get() == 3.0


def test_the_age_of_the_oldest_record_that_is_not_stored(loop: Loop) -> None:
    def oldest() -> float:
        return next(iter(loop.metrics.oldest_unacknowledged_seconds.collect())).samples[0].value

    loop.loop.turn()
    assert oldest() == 0
    loop.poll(0)
    loop.loop.turn()
    loop.now = 10.0
    loop.loop.turn()
    loop.now = 12.0
    assert oldest() == 12, "its insert runs; it was read at 0"
    loop.poll(1)
    loop.stored()
    loop.loop.turn()
    assert oldest() == 0
    loop.loop.turn()
    loop.now = 15.0
    assert oldest() == 3


def test_while_an_insert_runs_the_next_batch_is_mapped_and_then_fetching_pauses(loop: Loop) -> None:
    loop.poll(0, 1)
    loop.loop.turn()
    loop.poll(2, 3)
    loop.loop.turn()
    assert loop.loop._mapped is not None, "it follows at once"
    loop.poll(4, 5)
    loop.loop.turn()
    loop.poll(6, 7)
    for seconds in (0.0, PAUSE_AFTER_SECONDS / 2):
        loop.now = seconds
        loop.loop.turn()
        assert not loop.consumer.is_paused()
    loop.now = PAUSE_AFTER_SECONDS
    loop.loop.turn()
    assert loop.consumer.is_paused()
    assert len(loop.consumer.polls) == 1, "the fourth batch stays with the broker"
    consumed = loop.consumer.consumed
    for _ in range(5):
        loop.loop.turn()  # a long outage: polling goes on, nothing is taken
    assert loop.consumer.consumed == consumed + 5, "who does not poll is put out of the group"
    assert len(loop.writer.begun) == 1
    loop.stored()
    loop.loop.turn()
    assert not loop.consumer.is_paused()
    wait_for("the second insert", lambda: len(loop.writer.begun) == 2)
    assert loop.consumer.commits == [{(TOPICS.enriched, 0): 2}]
    loop.stored()
    loop.loop.turn()
    loop.loop.turn()
    wait_for("the third insert", lambda: len(loop.writer.begun) == 3)
    offsets = [[source.offset for source in begun.tables[0].sources] for begun in loop.writer.begun]
    assert offsets == [[0, 1], [2, 3], [4, 5]]


def test_the_next_insert_begins_before_the_last_one_is_committed(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = loop.consumer.commit
    running = []

    def look(offsets: list[TopicPartition], asynchronous: bool) -> None:
        insert = loop.loop._inserts.running
        running.append(insert.prepared.next_offsets if insert is not None else None)
        commit(offsets, asynchronous)

    monkeypatch.setattr(loop.consumer, "commit", look)
    loop.poll(0, 1)
    loop.loop.turn()
    loop.poll(2, 3)
    loop.loop.turn()
    loop.stored()
    loop.loop.turn()
    assert running == [{(TOPICS.enriched, 0): 4}]
    assert loop.consumer.commits == [{(TOPICS.enriched, 0): 2}]


def test_a_flood_behind_a_stored_batch_leaves_its_commit_and_its_counts_alone(loop: Loop) -> None:
    loop.loop._policy = BatchPolicy(max_rows=RUN, max_bytes=1 << 20, max_age_seconds=10.0)
    good = enriched_record(event(event_id="0"), offset=0)
    for first, bad in ((0, 0), (RUN, RUN - 1), (2 * RUN, RUN)):
        records = [good._replace(offset=first + number) for number in range(RUN)]
        records = [
            record._replace(headers=()) if number >= RUN - bad else record for number, record in enumerate(records)
        ]
        loop.consumer.polls.append([FakeMessage(record) for record in records])
    for _ in range(3):
        loop.loop.turn()
    loop.stored()
    loop.loop.turn()
    loop.stored()
    with pytest.raises(FloodOfDeadLetters):
        loop.loop.turn()
    offset, note = loop.consumer.group[TOPICS.enriched, 0]
    assert offset == 2 * RUN
    assert Flood.of_note(note)._run == RUN - 1, "none of the batch that was not stored"


def test_a_batch_waits_in_proportion_to_the_insert_before_it(loop: Loop) -> None:
    loop.loop._policy = replace(POLICY, min_age_seconds=1.0)
    loop.poll(0)
    loop.loop.turn()
    loop.now = 1.0
    loop.loop.turn()
    wait_for("the first insert", lambda: len(loop.writer.begun) == 1)
    loop.poll(1)
    loop.loop.turn()
    loop.now = 1.5
    loop.stored()
    loop.now = 1.0 + 1.5  # the insert took 1.5 seconds, so the next waits for 6
    loop.loop.turn()
    for loop.now in (2.5, 6.9):
        loop.loop.turn()
        assert len(loop.writer.begun) == 1
    loop.now = 7.0
    loop.loop.turn()
    wait_for("the second insert", lambda: len(loop.writer.begun) == 2)


def test_while_an_insert_runs_the_open_batch_is_mapped(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sink.ahead.CHUNK", 1)
    loop.loop._policy = replace(POLICY, max_rows=3, max_age_seconds=0.0)
    loop.poll(0)
    loop.loop.turn()
    wait_for("the first insert", lambda: loop.writer.begun)
    loop.poll(1)
    loop.poll(2)
    for _ in range(2):
        loop.loop.turn()
    monkeypatch.setattr("sink.ahead.prepare", None)  # nothing is left to map when the insert ends
    loop.stored()
    loop.loop.turn()
    wait_for("the second insert", lambda: len(loop.writer.begun) == 2)
    assert loop.writer.begun[1].next_offsets == {(TOPICS.enriched, 0): 3}
    assert [source.offset for source in loop.writer.begun[1].tables[0].sources] == [1, 2]


def test_when_an_insert_ends_what_is_mapped_follows_and_the_rest_stays_open(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sink.ahead.CHUNK", 2)
    loop.loop._policy = replace(POLICY, max_rows=9, max_age_seconds=5.0)
    loop.poll(0, 1)
    for loop.now in (0.0, 5.0):
        loop.loop.turn()
    wait_for("the first insert", lambda: loop.writer.begun)
    loop.poll(2)
    loop.poll(3, 4)
    for loop.now in (6.0, 7.0):
        loop.loop.turn()
    monkeypatch.setattr("sink.ahead.prepare", None)  # nothing is mapped between two inserts
    loop.now = 11.0
    loop.stored()
    loop.loop.turn()
    wait_for("the second insert", lambda: len(loop.writer.begun) == 2)
    assert loop.writer.begun[1].next_offsets == {(TOPICS.enriched, 0): 4}
    monkeypatch.undo()
    loop.stored()
    loop.now = 11.9
    loop.loop.turn()
    assert loop.consumer.commits[-1] == {(TOPICS.enriched, 0): 4}
    assert loop.loop._inserts.running is None
    loop.now = 12.0  # the age of what came at 7, not of what was open since 6
    loop.loop.turn()
    wait_for("the third insert", lambda: len(loop.writer.begun) == 3)
    assert loop.writer.begun[2].next_offsets == {(TOPICS.enriched, 0): 5}


def test_a_flood_of_letters_ends_the_loop_before_anything_of_the_batch_is_stored(loop: Loop) -> None:
    loop.loop._policy = BatchPolicy(max_rows=RUN, max_bytes=1 << 20, max_age_seconds=10.0)
    good = enriched_record(event(event_id="0"), offset=0)
    bad = [good._replace(offset=number, headers=()) for number in range(1, RUN + 1)]
    loop.consumer.polls.append([FakeMessage(record) for record in bad])
    with pytest.raises(FloodOfDeadLetters, match=r"100 records in a row of test\.events\.enriched-0 up to offset 100"):
        loop.loop.turn()
    assert loop.writer.begun == []
    assert loop.consumer.commits == []


def test_what_was_counted_of_dead_letters_outlives_the_process(loop: Loop) -> None:
    """One bad record after the other, and a restart after each batch: the hundredth stops it, and stops it again."""
    good = enriched_record(event(event_id="0"), offset=0)
    group: dict[tuple[str, int], tuple[int, str]] = {}
    for offset in range(RUN + 2):
        again = Loop()
        again.consumer.group = group
        again.loop._policy = BatchPolicy(max_rows=1, max_bytes=1 << 20, max_age_seconds=10.0)
        again.loop._on_assign(again.consumer, [TopicPartition(TOPICS.enriched, 0)])  # type: ignore[arg-type]
        reached = min(offset, RUN - 1)
        again.consumer.polls.append([FakeMessage(good._replace(offset=reached, headers=()))])
        if offset < RUN - 1:
            again.loop.turn()
            again.stored()
            again.loop.turn()
            assert again.consumer.commits == [{(TOPICS.enriched, 0): offset + 1}]
        else:
            with pytest.raises(FloodOfDeadLetters, match="100 records in a row"):
                again.loop.turn()
            assert again.consumer.commits == []
        group = again.consumer.group


def test_a_commit_that_fails_is_made_up_for(loop: Loop) -> None:
    loop.consumer.refusals = [KafkaException(KafkaError(KafkaError._TRANSPORT))]
    loop.poll(0, 1)
    loop.loop.turn()
    loop.stored()
    loop.loop.turn()
    assert loop.consumer.commits == []
    assert loop.metrics.commit_failures._value.get() == 1
    for loop.now in (100.0, 200.0):
        loop.loop.turn()
    assert loop.consumer.commits == [{(TOPICS.enriched, 0): 2}], "once"


def test_a_failure_the_writer_does_not_know_ends_the_loop(loop: Loop) -> None:
    loop.writer.error = RuntimeError("a bug")
    loop.poll(0, 1)
    loop.loop.turn()
    loop.stored()
    with pytest.raises(RuntimeError, match="a bug"):
        loop.loop.turn()
    assert loop.consumer.commits == []


def test_errors_of_the_client_end_the_loop_only_when_they_are_fatal(loop: Loop) -> None:
    loop.consumer.polls.append([FakeMessage(None, KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))])
    loop.loop.turn()
    loop.consumer.polls.append([FakeMessage(None, KafkaError(KafkaError._FATAL, "fenced", fatal=True))])
    with pytest.raises(KafkaException):
        loop.loop.turn()


def test_lag_is_what_is_not_stored_yet(loop: Loop) -> None:
    loop.poll(0, 1)
    loop.loop.turn()
    loop.stored()
    loop.loop.turn()
    loop.now = 100.0
    loop.loop.turn()
    assert loop.metrics.consumer_lag.labels(TOPICS.enriched, "0")._value.get() == 98
    loop.loop._on_revoke(loop.consumer, [TopicPartition(TOPICS.enriched, 0)])  # type: ignore[arg-type]
    assert next(iter(loop.metrics.consumer_lag.collect())).samples == []


def test_what_is_wrong_with_the_store_shows_on_the_readiness_page(loop: Loop) -> None:
    loop.writer.problem = "inserts fail"
    loop.now = 10.0
    loop.loop.turn()
    assert not loop.readiness.ready
    loop.writer.problem = ""
    loop.now = 20.0
    loop.loop.turn()
    assert loop.readiness.ready


def test_a_stop_leaves_the_group(loop: Loop) -> None:
    loop.loop.stop()
    loop.loop.run()
    assert loop.consumer.closed
    assert loop.consumer.topics == subscription(TOPICS)
    assert set(loop.consumer.callbacks) == {"on_assign", "on_revoke", "on_lost"}


def test_nothing_is_committed_behind_the_loops_back() -> None:
    config = consumer_config(load(KafkaSettings), "g", "embedded")
    assert config["enable.auto.commit"] is False
    assert config["enable.auto.offset.store"] is False
    other = consumer_config(load(KafkaSettings, topic_prefix="other."), "g", "embedded")
    assert config["group.instance.id"] != other["group.instance.id"]
    assert "group.instance.id" not in consumer_config(load(KafkaSettings), "g")
