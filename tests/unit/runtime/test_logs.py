"""What libraries log about requests of strangers."""

from __future__ import annotations

import json
import subprocess
import sys

_PROGRAM = """
import logging, warnings
from runtime.logs import configure
from runtime.settings.base import LogFormat, LogLevel
for _ in range(2):
    configure("gateway", LogLevel.DEBUG, LogFormat.JSON)
grpc, uvicorn = logging.getLogger("grpc._cython.cygrpc"), logging.getLogger("uvicorn.error")
for number in range(1000):
    try:
        b"\\xff".decode()
    except UnicodeDecodeError:
        grpc.exception("Invalid encoding on %s", b"Bearer ck_the_key_itself")
    uvicorn.warning("Invalid HTTP request received.")
    grpc.error("ExecuteBatchError raised in core by servicer method [/x]")
grpc.error("something else")
logging.getLogger("urllib3.connectionpool").debug("GET /?param_text=a prompt")
warnings.warn("a key is short")
"""


def test_strangers_fill_no_log() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("{") for line in lines)
    assert sum("a key is short" in line for line in lines) == 1
    assert sum("a request cannot be read" in line for line in lines) == 2
    assert sum("something else" in line for line in lines) == 1
    assert "ck_the_key_itself" not in done.stderr
    assert "Traceback" not in done.stderr


_SWITCHED = """
import logging, os, signal, sys, time
from runtime import logs
from runtime.settings.base import LogFormat, LogLevel

made = logs.configure("gateway", LogLevel(sys.argv[1]), LogFormat.JSON, quiet_at_info=("faust",))
logs.obey_signals(made)
log, library = logs.get_logger("gateway.x"), logging.getLogger("faust.worker")

def speak(when):
    log.debug("fine", when=when)  # the logger is kept from its first use on
    log.info("plain", when=when)
    library.info("library %s", when)
    logging.getLogger("urllib3.connectionpool").debug("GET /?param_text=a prompt")

def send(number, what):
    before = what()
    os.kill(os.getpid(), number)
    until = time.monotonic() + 60
    while what() == before:
        assert time.monotonic() < until
        time.sleep(0.01)
    with made._switching:  # and has been said
        pass

level, form = lambda: made._level, lambda: made._format
speak("0")
send(signal.SIGUSR1, level)
speak("1")
send(signal.SIGUSR1, level)
speak("2")
send(signal.SIGUSR2, form)
speak("3")
send(signal.SIGUSR2, form)
speak("4")
"""


def _switched(level: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", _SWITCHED, level], capture_output=True, text=True, check=True)
    assert "a prompt" not in done.stderr
    return done.stderr.splitlines()


def test_level_and_format_change_by_signal() -> None:
    events = []
    for line in _switched("info"):
        if line.startswith("{"):
            found = json.loads(line)
            events.append((found["event"], found.get("when", found.get("now"))))
        else:
            events.append(("console", line))
    assert events[:9] == [
        ("plain", "0"),
        ("log_level_changed", "debug"),
        ("fine", "1"),
        ("plain", "1"),
        ("library 1", None),
        ("log_level_changed", "info"),
        ("plain", "2"),
        ("console", events[7][1]),
        ("console", events[8][1]),
    ]
    assert "log_format_changed" in events[7][1] and "now=console" in events[7][1]
    assert "plain" in events[8][1] and "when=3" in events[8][1]
    assert events[9:] == [("log_format_changed", "json"), ("plain", "4")]


def test_a_change_is_said_at_any_level() -> None:
    lines = _switched("error")
    assert sum("log_level_changed" in line for line in lines) == 2
    assert sum('"when": "2"' in line for line in lines) == 0


def test_started_with_debug_the_other_level_is_info() -> None:
    lines = [json.loads(line) for line in _switched("debug") if line.startswith("{")]
    assert [line["event"] for line in lines if line.get("when") == "1"] == ["plain"]
    assert [line["event"] for line in lines if line.get("when") == "2"] == ["fine", "plain"]
