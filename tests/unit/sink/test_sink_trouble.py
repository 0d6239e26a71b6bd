"""What fails every second is told once."""

from __future__ import annotations

from structlog.testing import capture_logs

from sink.trouble import Trouble


def test_a_failure_is_told_when_it_begins_when_it_changes_and_when_it_is_over() -> None:
    trouble = Trouble("settling")
    with capture_logs() as lines:
        trouble.over()
        for problem in ("away", "away", "disk full", "disk full", "away"):
            trouble.tell(problem)
        trouble.over()
        trouble.over()
        trouble.tell("away")
    told = [(line["log_level"], line.get("error")) for line in lines]
    assert told == [
        ("warning", "away"),
        ("warning", "disk full"),
        ("warning", "away"),
        ("info", None),
        ("warning", "away"),
    ]
