"""What supervisord's log and a process's own log tell about its past."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from cli.stack.history import Exit, History, last_words, read_history

NOW = 1_000_000.0


def at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) + ",123"


def test_starts_and_exits_nobody_asked_for(tmp_path: Path) -> None:
    (tmp_path / "supervisord.log.1").write_text(
        f"{at(NOW)} INFO spawned: 'sink' with pid 1\n"
        f"{at(NOW + 1)} WARN exited: sink (exit status 1; not expected)\n"
        f"{at(NOW + 2)} INFO spawned: 'sink' with pid 2\n"
    )
    (tmp_path / "supervisord.log").write_text(
        f"{at(NOW + 50)} INFO success: sink entered RUNNING state, process has stayed up for > than 30 seconds (startsecs)\n"
        f"{at(NOW + 60)} WARN exited: sink (terminated by SIGKILL; not expected)\n"
        f"{at(NOW + 61)} INFO spawned: 'processors-0' with pid 3\n"
        f"{at(NOW + 62)} INFO stopped: processors-0 (exit status 0)\n"
        f"{at(NOW + 63)} INFO exited: gateway-0 (exit status 0; expected)\n"
    )
    found = read_history(tmp_path)
    assert found["sink"] == History(2, [Exit(NOW + 1, "exit status 1"), Exit(NOW + 60, "terminated by SIGKILL")])
    assert found["processors-0"] == History(1, [])
    assert found["gateway-0"].exits == [Exit(NOW + 63, "exit status 0")]


def test_without_a_log_nothing_happened(tmp_path: Path) -> None:
    assert read_history(tmp_path) == {}


def died(*ago: float) -> History:
    return History(len(ago) + 1, [Exit(NOW - one, "exit status 1") for one in ago])


@pytest.mark.parametrize(
    ("history", "waiting", "uptime", "loop"),
    [
        (died(), False, 1, False),
        (died(30, 1), True, 0, False),
        (died(40, 30, 1), True, 0, True),
        (died(40, 30, 20), False, 19, True),
        (died(200, 190, 180), False, 179, False),
        (died(300, 180, 60), False, 59, True),  # lives two minutes each time, as with the stall watchdog
        (died(500, 380, 260), False, 259, False),
        (died(9000, 8000, 7000), False, 6999, False),
        (died(9000, 8000, 601), True, 0, True),  # its pauses have become that long
    ],
)
def test_crash_loops(history: History, waiting: bool, uptime: float, loop: bool) -> None:
    assert history.crash_loop(waiting=waiting, uptime_seconds=uptime, now=NOW) is loop


def line(second: int, level: str, event: str, **more: str) -> str:
    stamp = f"2026-01-01T00:00:{second:02}.000000Z"
    return json.dumps({"event": event, "level": level, "timestamp": stamp, **more}) + "\n"


def test_the_first_error_of_the_last_burst_tells_why(tmp_path: Path) -> None:
    log = tmp_path / "sink.log"
    log.write_text(
        line(1, "critical", "an older reason")
        + line(40, "info", "starting")
        + line(41, "critical", "[^--Consumer]: 100 records in a row")
        + line(42, "critical", "[^--Consumer]: Crashed reason=StopWorker('100 records')")
        + line(47, "critical", "[^Worker]: We experienced a crash! Reraising original exception...")
        + line(48, "info", "starting")
    )
    assert last_words(log) == "100 records in a row"
    log.write_text(line(1, "error", "the writer ended", error="FloodOfDeadLetters: many") + 'File "x.py", line 1\n')
    assert last_words(log) == "the writer ended: FloodOfDeadLetters: many"


def test_other_logs_end_with_their_last_line(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    assert last_words(log) == ""
    log.write_text("[ERROR] no space\nshut down\n\n")
    assert last_words(log) == "shut down"
    log.write_text("[1]\nnull\n")
    assert last_words(log) == "null"
