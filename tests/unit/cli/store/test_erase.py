"""`erase` before it reaches a sink, and what it says of Kafka."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.store.kafka_left import _said, what_kafka_keeps
from tests.support.processors import free_port


@pytest.mark.parametrize("arguments", [[], ["--session", "s", "--subject", "x"]])
def test_one_of_session_and_subject(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, ["erase", "--tenant", "t", *arguments], env={"SINK_ADMIN_TOKEN": "x"})
    assert done.exit_code == 2
    assert "either --session or --subject" in done.output


def test_whose_it_is_must_be_said() -> None:
    assert CliRunner().invoke(app, ["erase", "--session", "s"]).exit_code == 2


def test_a_kafka_that_does_not_answer_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    monkeypatch.setattr("cli.store.kafka_left.ANSWER_SECONDS", 0.3)
    said = what_kafka_keeps()
    assert "Kafka still has what it had" in said
    assert "retention.ms" in said
    assert "did not answer" in said


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("retention.ms", "7200000", "retention.ms=7200000 (2 h)"),
        ("retention.ms", "-1", "retention.ms=-1 (no bound)"),
        ("retention.bytes", "100", "retention.bytes=100"),
        ("segment.ms", None, "segment.ms=-1 (no bound)"),
    ],
)
def test_settings_as_a_person_reads_them(setting: str, value: str | None, said: str) -> None:
    assert _said(setting, value) == said
