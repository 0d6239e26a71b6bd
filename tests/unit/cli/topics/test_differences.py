"""What differs, and what is done about it: nothing that loses records or order happens unasked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cli.topics.differences import Action, Topic, compare
from contracts.topics import MIB
from runtime.kafka import topic_config
from runtime.settings import InvalidSettings, KafkaSettings, load

SETTINGS = load(KafkaSettings, topic_prefix="t.", topic_partitions=4, topic_replication_factor=3)


def as_created(settings: KafkaSettings = SETTINGS) -> dict[str, Topic]:
    return {
        spec.name: Topic(
            spec.partitions or settings.topic_partitions,
            settings.topic_replication_factor,
            topic_config(settings, spec),
        )
        for spec in settings.topics.specs()
    }


def changed(name: str = "t.events.raw", **config: str) -> dict[str, Topic]:
    found = as_created()
    found[name] = replace(
        found[name], config={**found[name].config, **{k.replace("_", "."): v for k, v in config.items()}}
    )
    return found


def only(found: dict[str, Topic], settings: KafkaSettings = SETTINGS) -> tuple[str, str, str, str, Action]:
    (one,) = compare(settings, found)
    return one.topic, one.property, one.actual, one.desired, one.action


def test_what_is_created_does_not_differ() -> None:
    assert compare(SETTINGS, as_created()) == []


def test_a_missing_topic_is_created() -> None:
    found = as_created()
    del found["t.control"]
    assert only(found) == ("t.control", "partitions × replicas", "missing", "1 × 3", Action.CREATE)


def test_more_partitions_move_sessions_and_need_to_be_known() -> None:
    found = as_created()
    found["t.events.raw"] = replace(found["t.events.raw"], partitions=2)
    assert only(found) == ("t.events.raw", "partitions", "2", "4", Action.RISKY)
    (one,) = compare(SETTINGS, found)
    assert "window" in one.why
    assert "order" in one.why.lower()


def test_partitions_and_replicas_are_never_taken_away_or_moved() -> None:
    found = as_created()
    found["t.events.raw"] = replace(found["t.events.raw"], partitions=9)
    assert only(found) == ("t.events.raw", "partitions", "9", "4", Action.REFUSE)
    found = as_created()
    found["t.events.raw"] = replace(found["t.events.raw"], replicas=2)
    topic, prop, _, _, action = next(
        (o.topic, o.property, o.actual, o.desired, o.action) for o in compare(SETTINGS, found)
    )
    assert (topic, prop, action) == ("t.events.raw", "replication.factor", Action.REFUSE)


def test_a_limit_is_raised_and_never_lowered() -> None:
    assert only(changed(max_message_bytes=str(MIB)))[1:] == ("max.message.bytes", str(MIB), str(2 * MIB), Action.SET)
    assert compare(SETTINGS, changed(max_message_bytes=str(64 * MIB))) == []


@pytest.mark.parametrize(
    ("name", "value", "desired"),
    [
        ("cleanup_policy", "compact", "delete"),
        ("message_timestamp_type", "LogAppendTime", "CreateTime"),
        ("min_insync_replicas", "1", "2"),
        ("unclean_leader_election_enable", "true", "false"),
    ],
)
def test_what_a_promise_rests_on_is_set(name: str, value: str, desired: str) -> None:
    assert only(changed(**{name: value}))[1:] == (name.replace("_", "."), value, desired, Action.SET)


def test_a_topic_with_one_replica_never_gets_two_in_sync() -> None:
    found = {
        name: replace(topic, replicas=1, config={**topic.config, "min.insync.replicas": "1"})
        for name, topic in as_created().items()
    }
    assert {one.property for one in compare(SETTINGS, found)} == {"replication.factor"}
    named = load(
        KafkaSettings, topic_prefix="t.", topic_partitions=4, topic_replication_factor=3, topic_min_insync_replicas=2
    )
    refused = [one for one in compare(named, found) if one.property == "min.insync.replicas"]
    assert refused
    assert {one.action for one in refused} == {Action.REFUSE}


@pytest.mark.parametrize(
    ("actual", "action"), [("3600000", Action.SET), ("7200001", Action.RISKY), ("-1", Action.RISKY)]
)
def test_retention_is_lengthened_at_once_and_shortened_knowingly(actual: str, action: Action) -> None:
    settings = load(
        KafkaSettings, topic_prefix="t.", topic_partitions=4, topic_replication_factor=3, topic_raw_retention_hours=2
    )
    found = as_created(settings)
    raw = found["t.events.raw"]
    found["t.events.raw"] = replace(raw, config={**raw.config, "retention.ms": actual})
    assert only(found, settings) == ("t.events.raw", "retention.ms", actual, "7200000", action)


def test_retention_without_a_setting_is_the_operators_own() -> None:
    assert compare(SETTINGS, changed(retention_ms="1")) == []


def test_more_in_sync_than_replicas_is_no_setting() -> None:
    with pytest.raises(InvalidSettings, match="KAFKA_TOPIC_MIN_INSYNC_REPLICAS"):
        load(KafkaSettings, topic_min_insync_replicas=2)
