"""Settings: typed, from the environment, and a wrong one says so."""

from pathlib import Path

import pytest
from confluent_kafka import Consumer
from pydantic_settings import BaseSettings

from runtime.kafka import reader_config, retention_config
from runtime.settings import GatewaySettings, InvalidSettings, KafkaSettings, ProcessorsSettings, SinkSettings, load
from runtime.settings.__main__ import render
from runtime.settings.base import env_name, is_secret

ALL: list[type[BaseSettings]] = [GatewaySettings, KafkaSettings, ProcessorsSettings, SinkSettings]


def test_a_wrong_setting_names_variable_value_and_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_GRPC_PORT", "70000")
    with pytest.raises(InvalidSettings, match=r"GATEWAY_GRPC_PORT='70000': .*65535.*"):
        load(GatewaySettings)


def test_every_wrong_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINK_BATCH_ROWS", "0")
    monkeypatch.setenv("SINK_ROLE", "king")
    with pytest.raises(InvalidSettings) as caught:
        load(SinkSettings)
    assert "SINK_BATCH_ROWS" in str(caught.value)
    assert "SINK_ROLE" in str(caught.value)


def test_the_dsn_has_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKHOUSE_DSN", "chdb:////data")
    assert load(SinkSettings).clickhouse_dsn.get_secret_value() == "chdb:////data"


def test_secrets_never_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKHOUSE_DSN", "clickhouse://user:hunter2@host/db")
    monkeypatch.setenv("SINK_TOKEN", "hunter2")
    assert "hunter2" not in repr(load(SinkSettings))


def test_unknown_kafka_variables_reach_librdkafka() -> None:
    settings = load(KafkaSettings, bootstrap_servers="b:1")
    environment = {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_USERNAME": "u",
        "KAFKA_TOPIC_PREFIX": "x.",
        "OTHER": "1",
    }
    assert settings.client_config(environment) == {
        "bootstrap.servers": "b:1",
        "security.protocol": "SASL_SSL",
        "sasl.username": "u",
    }


def test_stacks_with_topics_of_their_own_have_groups_of_their_own() -> None:
    assert load(KafkaSettings).group("", "chaukas-sink") == "chaukas-sink"
    assert load(KafkaSettings, topic_prefix="two.").group("", "chaukas-sink") == "two.chaukas-sink"
    assert load(KafkaSettings, topic_prefix="two.").group("mine", "chaukas-sink") == "mine"


def test_no_variable_belongs_to_the_sdk_and_every_setting_is_described() -> None:
    for cls in ALL:
        for name, field in cls.model_fields.items():
            assert not env_name(cls, name, field).startswith("CHAUKAS_")
            assert field.description, name
            if is_secret(field):
                assert "SecretStr" in repr(field.annotation)


def test_the_generated_table_is_current() -> None:
    committed = Path(__file__).parents[3] / "docs/settings.md"
    assert committed.read_text() == render(), "run `make docs`"


@pytest.mark.parametrize(
    "set_for_members",
    [
        {"KAFKA_MAX_POLL_INTERVAL_MS": "10000"},
        {"KAFKA_GROUP_PROTOCOL": "consumer", "KAFKA_GROUP_REMOTE_ASSIGNOR": "uniform"},
        {"KAFKA_SESSION_TIMEOUT_MS": "400000"},
    ],
)
def test_what_is_set_for_members_of_a_group_does_not_stop_a_reader(
    monkeypatch: pytest.MonkeyPatch, set_for_members: dict[str, str]
) -> None:
    for name, value in set_for_members.items():
        monkeypatch.setenv(name, value)
    Consumer(reader_config(load(KafkaSettings), "test")).close()


def test_how_long_topics_keep_records() -> None:
    kafka = load(KafkaSettings, topic_prefix="x.", topic_raw_retention_hours=2, topic_enriched_retention_hours=0.01)
    assert kafka.retention_hours() == {
        "x.events.raw": 2,
        "x.events.enriched": 0.01,
        "x.metrics.handoffs": 0.01,
        "x.metrics.mcp_calls": 0.01,
    }
    assert load(KafkaSettings).retention_hours() == {}
    assert retention_config(2) == {"retention.ms": "7200000", "segment.ms": "1800000"}
    assert retention_config(0.01) == {"retention.ms": "36000", "segment.ms": "60000"}, "not shorter than a minute"
    assert "topic.raw.retention.hours" not in kafka.client_config({"KAFKA_TOPIC_RAW_RETENTION_HOURS": "2"})


def test_paths_of_subjects_are_checked() -> None:
    assert load(SinkSettings).subject_paths.split() == ["$.metadata.user_id"]
    with pytest.raises(InvalidSettings, match=r"`metadata\.` is no JSONPath"):
        load(SinkSettings, subject_paths="$.metadata.user_id metadata.")
