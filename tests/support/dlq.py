"""`chaukas-gateway dlq …` in this process, against the topics of a test."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner, Result

from cli.main import app
from contracts.v1.dead_letter_pb2 import DeadLetter
from runtime.settings import KafkaSettings
from tests.support.processors import Workers


@dataclass
class Dlq:
    kafka: KafkaSettings

    def run(self, *arguments: str, exit_code: int = 0) -> Result:
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": self.kafka.topic_prefix,
            "COLUMNS": "200",
        }
        done = CliRunner().invoke(app, ["dlq", *arguments], env=environment)
        assert done.exit_code == exit_code, (done.output, done.exception)
        return done

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """What `list --json` says."""
        return [json.loads(line) for line in self.run("list", "--all", "--json", *arguments).stdout.splitlines()]


def letters_on(workers: Workers) -> list[DeadLetter]:
    """Every copy on the topic of dead letters."""
    return [DeadLetter.FromString(record.value or b"") for record in workers.read(workers.kafka.topics.dead_letters)]
