from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from runtime import starts
from runtime.starts import NO_WORD, Starts


def test_starts_and_ends_are_remembered(tmp_path: Path) -> None:
    now = [10_000.0]
    path = tmp_path / "of this stack" / "sink.json"
    first = Starts(path, lambda: now[0])
    assert (first.last_hour(), first.last_exit_status) == (1, None)
    now[0] += 10
    second = Starts(path, lambda: now[0])
    assert (second.last_hour(), second.last_exit_status) == (2, NO_WORD)
    second.end(75)
    now[0] += 10
    third = Starts(path, lambda: now[0])
    assert (third.last_hour(), third.last_exit_status) == (3, 75)
    now[0] += 3590
    assert third.last_hour() == 1


@pytest.mark.parametrize("text", ["", "{}", "[[1]]", "[1]", '[["x", 1]]'])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sink.json"
    path.write_text(text)
    assert Starts(path).last_hour() == 1
    assert Starts(path).last_hour() == 2


def test_a_directory_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = Starts(tmp_path / "file" / "sink.json")
    found.end(1)
    assert found.last_hour() == 1


def test_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "_current", None)
    monkeypatch.setenv("SUPERVISOR_PROCESS_NAME", "processors-1")
    registry = CollectorRegistry()
    starts.begin(None, "processors", registry)
    starts.note_end(3)
    assert list(registry.collect()) == []
    starts.begin(tmp_path, "processors", CollectorRegistry())
    starts.note_end(3)
    starts.begin(tmp_path, "processors", registry)
    assert registry.get_sample_value("chaukas_process_starts_last_hour") == 2
    assert registry.get_sample_value("chaukas_process_last_exit_status") == 3
    assert (tmp_path / "processors-1.json").exists()
