"""`chaukas-gateway topics diff|apply` against a real broker."""

from __future__ import annotations

import json
import uuid
from typing import Any

from typer.testing import CliRunner, Result

from cli.main import app
from cli.topics.broker import Brokers
from tests.support.broker import Broker


class Command:
    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.prefix = f"conf-{uuid.uuid4().hex[:8]}."

    def run(self, *arguments: str, exit_code: int, **settings: str) -> Result:
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": self.broker.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": self.prefix,
            "KAFKA_TOPIC_PARTITIONS": "2",
            **settings,
        }
        done = CliRunner().invoke(app, ["topics", *arguments], env=environment)
        assert done.exit_code == exit_code, (done.output, done.exception)
        return done

    def rows(self, *arguments: str, exit_code: int, **settings: str) -> list[dict[str, Any]]:
        done = self.run(*arguments, "--json", exit_code=exit_code, **settings)
        return [json.loads(line) for line in done.stdout.splitlines()]


def test_topics_become_what_the_settings_say_and_nothing_is_lost_unasked(kafka: Broker) -> None:
    command = Command(kafka)
    missing = command.rows("diff", exit_code=2)
    assert [(row["actual"], row["action"]) for row in missing] == [("missing", "create")] * 6
    assert all(row["done"] for row in command.rows("apply", exit_code=0))
    assert command.rows("diff", exit_code=0) == []
    assert command.rows("apply", exit_code=0) == []

    raw = f"{command.prefix}events.raw"
    longer = {
        "KAFKA_TOPIC_PARTITIONS": "3",
        "KAFKA_TOPIC_RAW_RETENTION_HOURS": "1",
        "KAFKA_TOPIC_REPLICATION_FACTOR": "2",
    }
    refused = command.run("apply", exit_code=2, **longer)
    assert "no END meets its START" in " ".join(refused.output.split())
    settings = kafka.settings(command.prefix)
    before = Brokers(settings).topics()[raw]
    assert (before.partitions, before.config["retention.ms"]) == (2, "604800000")
    assert before.config["segment.ms"] == "900000"  # what is not risky is done

    left = command.rows("apply", "--i-know", exit_code=2, **longer)
    assert {row["property"] for row in left if not row["done"]} == {"replication.factor"}
    after = Brokers(settings).topics()
    assert (after[raw].partitions, after[raw].config["retention.ms"]) == (3, "3600000")
    assert after[f"{command.prefix}control"].partitions == 1
    assert {topic.replicas for topic in after.values()} == {1}


def test_a_broker_that_is_away_is_one_line_and_exit_code_3(kafka: Broker) -> None:
    command = Command(kafka)
    environment = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "KAFKA_TOPIC_PREFIX": command.prefix}
    done = CliRunner().invoke(app, ["topics", "diff"], env=environment)
    assert done.exit_code == 3
    assert "127.0.0.1:1" in done.output
