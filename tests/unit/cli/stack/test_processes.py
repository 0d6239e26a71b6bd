import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.stack import processes
from cli.stack.processes import MARKER, marker_value, members, started, stop_all

Start = Callable[..., "subprocess.Popen[str]"]
READY = "print('ready', flush=True); import time; time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + READY


@pytest.fixture
def start() -> Iterator[Start]:
    begun: list[subprocess.Popen[str]] = []

    def begin(directory: Path, code: str = READY) -> subprocess.Popen[str]:
        environment = {**os.environ, MARKER: marker_value(directory)}
        child = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        begun.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        return child

    yield begin
    for child in begun:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def test_members_are_those_of_the_directory(tmp_path: Path, start: Start) -> None:
    ours, _ = start(tmp_path / "a"), start(tmp_path / "b")
    assert members(tmp_path / "a") == [ours.pid]
    assert members(tmp_path / "c") == []


def test_the_caller_never_counts_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    child = start(tmp_path)
    monkeypatch.setattr(os, "getpid", lambda: child.pid)
    assert members(tmp_path) == []


def test_members_are_found_without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = f"{MARKER}={marker_value(tmp_path)}"
    listing = f"  11 python -m gateway HOME=/ {entry} A=b\n  12 python HOME=/ {entry}0\n  13 vi {MARKER}\n"
    monkeypatch.setattr(processes, "_PROC", tmp_path / "nowhere")
    monkeypatch.setattr(processes, "_ps", lambda *arguments: listing)
    assert members(tmp_path) == [11]


def test_started_names_one_process_for_ever(tmp_path: Path, start: Start) -> None:
    child = start(tmp_path)
    when = started(child.pid)
    assert when is not None
    assert started(child.pid) == when
    child.kill()
    assert started(child.pid) in (when, None)
    child.wait()
    assert started(child.pid) is None


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, start: Start) -> None:
    gentle, stubborn = start(tmp_path), start(tmp_path, STUBBORN)
    assert stop_all(tmp_path, grace_seconds=0.3) == sorted([gentle.pid, stubborn.pid])
    assert members(tmp_path) == []
    assert gentle.wait() == -signal.SIGTERM
    assert stubborn.wait() == -signal.SIGKILL
