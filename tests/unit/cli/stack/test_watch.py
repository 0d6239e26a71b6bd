import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from cli.stack import status, watch
from cli.stack.control import ProcessInfo
from cli.stack.errors import StackError
from cli.stack.foreground import changes, duration
from cli.stack.probes import Probe, probe
from cli.stack.record import Record
from cli.stack.status import ProcessStatus, StackStatus, collect
from cli.stack.watch import Exits, wait_ready

INFO = ProcessInfo("sink", "sink", "RUNNING", pid=7, start=100, stop=0, now=112, exit_status=0, spawn_error="")


def left(stop: int, state: str = "BACKOFF") -> ProcessInfo:
    return replace(INFO, state=state, pid=0, stop=stop, exit_status=1)


def test_a_process_that_leaves_three_times_is_hopeless() -> None:
    exits = Exits()
    assert [exits.hopeless(left(stop)) for stop in (101, 101, 102, 102, 103)] == [False, False, False, False, True]


def test_exits_are_counted_by_process() -> None:
    exits = Exits()
    assert not any(exits.hopeless(replace(left(101), name=name)) for name in "abcdef")


def test_when_the_supervisor_gives_up_it_is_hopeless_at_once() -> None:
    assert Exits().hopeless(left(101, "FATAL"))


def test_a_running_process_that_was_stopped_long_ago_is_not() -> None:
    exits = Exits(limit=1)
    assert not exits.hopeless(replace(INFO, stop=50))


def test_the_exit_status_says_more_than_supervisord_does() -> None:
    assert replace(left(1), spawn_error="Exited too quickly (process log …)").why_not_running.endswith("exit status 1")
    assert replace(left(1), spawn_error="can't find command").why_not_running == "can't find command"


RECORD = Record(1, "", "/nowhere", 0.0, 1, {"STACK_KAFKA_PORT": 1}, {"sink": "http://x/readyz"})


class Script:
    """Stands for supervisord: one answer after the other, the last one for ever."""

    answers: list[list[ProcessInfo]]

    def __init__(self, path: Path) -> None:
        self.path = path

    def processes(self) -> list[ProcessInfo]:
        return type(self).answers.pop(0) if len(type(self).answers) > 1 else type(self).answers[0]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> type[Script]:
    monkeypatch.setattr(watch, "Control", Script)
    monkeypatch.setattr(watch, "_POLL_SECONDS", 0)
    monkeypatch.setattr(watch, "readiness", lambda name, record: Probe(True))
    return Script


def test_waits_until_running_and_ready(script: type[Script], tmp_path: Path) -> None:
    script.answers = [[replace(INFO, state="STARTING")], [INFO]]
    seen: list[str] = []
    wait_ready({"sink"}, RECORD, tmp_path, float("inf"), seen.append)
    assert seen == ["sink"]


def test_a_failing_process_is_named_with_the_end_of_its_log(script: type[Script], tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "sink.log").write_text(
        "".join(f"line {n}\n" for n in range(100)) + "CLICKHOUSE_DSN is wrong\n"
    )
    script.answers = [[left(1)], [left(2)], [left(3)]]
    with pytest.raises(StackError) as caught:
        wait_ready({"sink"}, RECORD, tmp_path, float("inf"))
    message = str(caught.value)
    assert message.startswith("sink does not start: it left with exit status 1")
    assert message.endswith("CLICKHOUSE_DSN is wrong")
    assert "line 99" in message
    assert "line 10\n" not in message


def test_the_deadline_names_who_is_not_ready_and_why(
    script: type[Script], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "readiness", lambda name, record: Probe(False, "kafka: no broker"))
    script.answers = [[INFO]]
    with pytest.raises(StackError, match=r"STACK_START_SECONDS.*sink\nsink: kafka: no broker\n.*is empty"):
        wait_ready({"sink"}, RECORD, tmp_path, 0)


class Page(http.server.BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, tuple[int, bytes]]] = {
        "/ok": (200, b"{}"),
        "/not": (503, b'{"conditions": {"kafka": "no broker", "schema": "ok"}}'),
        "/odd": (500, b"oops"),
    }

    def do_GET(self) -> None:
        code, body = self.answers[self.path]
        self.send_response(code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Silent."""


@pytest.fixture
def pages() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_probes(pages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert probe(f"{pages}/ok") == Probe(True)
    assert probe(f"{pages}/not") == Probe(False, "kafka: no broker")
    assert probe(f"{pages}/odd") == Probe(False, f"{pages}/odd answers 500")


def test_a_page_that_is_not_there() -> None:
    answer = probe("http://127.0.0.1:1/readyz")
    assert not answer.ready
    assert "does not answer" in answer.missing


def test_restarts_are_counted_since_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "logs").mkdir()
    line = "2026-01-01 00:00:00,000 INFO spawned: 'sink' with pid {}\n"
    (tmp_path / "logs" / "supervisord.log.1").write_text(line.format(1) + line.format(2))
    (tmp_path / "logs" / "supervisord.log").write_text(line.format(3).replace("spawned", "exited") + line.format(4))
    Script.answers = [[INFO, replace(INFO, name="kafka", group="kafka")]]
    monkeypatch.setattr(status, "Control", Script)
    monkeypatch.setattr(status, "readiness", lambda name, record: Probe(True))
    monkeypatch.setattr(Record, "alive", True)
    record = replace(
        RECORD,
        ports={"STACK_KAFKA_PORT": 1, "STACK_KAFKA_CONTROLLER_PORT": 2, "SINK_GRPC_PORT": 3, "SINK_HTTP_PORT": 4},
    )
    found = collect(tmp_path, record)
    assert [(p.process, p.restarts, p.uptime_seconds) for p in found.processes] == [("kafka", 0, 12), ("sink", 2, 12)]
    assert found.ready


def test_nothing_running_is_not_ready(tmp_path: Path) -> None:
    found = collect(tmp_path, None)
    assert not found.ready
    assert "chaukas-gateway up" in found.problem


def test_an_empty_answer_is_never_ready(tmp_path: Path) -> None:
    assert not StackStatus(tmp_path, []).ready


READY = ProcessStatus("sink", "RUNNING", True, "", 7, 12, 0, {})


def test_changes_are_told_once() -> None:
    shown: dict[str, str] = {}
    assert changes(shown, [READY]) == []
    gone = replace(READY, state="BACKOFF", ready=False, missing="exit status 1", restarts=1)
    (line,) = changes(shown, [gone])
    assert line.endswith("sink: backoff, not ready (restarts: 1): exit status 1")
    assert changes(shown, [gone]) == []
    (line,) = changes(shown, [replace(READY, restarts=1)])
    assert line.endswith("sink: ready (restarts: 1)")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (86_399, "23h59m"), (90_000, "1d01h")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
