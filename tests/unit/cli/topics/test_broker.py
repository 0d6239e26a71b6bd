"""What the brokers' answers become: a refusal is no outage, and neither is a stack trace."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from typer.testing import CliRunner

from cli.main import app
from cli.topics import broker, commands
from cli.topics.broker import Brokers, TopicRefused
from cli.topics.differences import Action, Difference
from contracts.errors import Unavailable
from runtime.settings import KafkaSettings, load


class FakeAdmin:
    """Knows one topic; every answer about it is `error`."""

    def __init__(self, code: int) -> None:
        self.error = KafkaException(KafkaError(code))

    def list_topics(self, timeout: float) -> Any:
        topic = SimpleNamespace(error=None, partitions={0: SimpleNamespace(replicas=[1])})
        return SimpleNamespace(topics={"chaukas.events.raw": topic})

    def _answers(self, subjects: list[Any]) -> dict[Any, Future[Any]]:
        failed: Future[Any] = Future()
        failed.set_exception(self.error)
        return {subjects[0]: failed}

    def describe_configs(self, resources: list[Any], request_timeout: float) -> dict[Any, Future[Any]]:
        return self._answers(resources)

    incremental_alter_configs = describe_configs


def brokers(monkeypatch: pytest.MonkeyPatch, code: int) -> Brokers:
    monkeypatch.setattr(broker, "admin", lambda _: FakeAdmin(code))
    return Brokers(load(KafkaSettings))


@pytest.mark.parametrize(
    ("code", "raised"),
    [(KafkaError.TOPIC_AUTHORIZATION_FAILED, TopicRefused), (KafkaError._TIMED_OUT, Unavailable)],
)
def test_missing_rights_are_a_refusal_and_silence_an_outage(
    monkeypatch: pytest.MonkeyPatch, code: int, raised: type[Exception]
) -> None:
    with pytest.raises(raised):
        brokers(monkeypatch, code).topics()


def test_a_topic_that_goes_meanwhile_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert brokers(monkeypatch, KafkaError.UNKNOWN_TOPIC_OR_PART).topics() == {}


def test_a_refused_change_names_the_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    change = Difference("chaukas.events.raw", "retention.ms", "1", "2", Action.SET)
    with pytest.raises(TopicRefused, match=r"topic chaukas\.events\.raw: "):
        brokers(monkeypatch, KafkaError.POLICY_VIOLATION).set([change])


@pytest.mark.parametrize("command", ["diff", "apply"])
def test_a_refusal_is_one_line_and_exit_code_3(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    refusing = brokers(monkeypatch, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    monkeypatch.setattr(commands, "Brokers", lambda _: refusing)
    done = CliRunner().invoke(app, ["topics", command], env={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    assert done.exit_code == 3
    assert done.output.startswith("error: ")
    assert len(done.output.splitlines()) == 1
