"""`up`, `status`, `logs`, `down` as a user meets them: in order, refused, failing, and after a kill."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cli.stack.ports import is_free
from cli.stack.processes import members
from cli.stack.record import Record, load_record
from tests.support.stack import PROCESSES, Stack
from tests.support.waiting import wait_for


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Stack]:
    """A stack of this test's own; nothing of it may be left, however the test ends."""
    made = Stack(tmp_path / "a stack")
    try:
        yield made
    finally:
        made.cli("down", check=False)
        assert members(made.directory) == []


def record_of(stack: Stack) -> Record:
    found = load_record(stack.directory)
    assert found is not None
    return found


def restarts(stack: Stack) -> dict[str, int]:
    return {process.process: process.restarts for process in stack.status().processes}


def assert_nothing_is_left(stack: Stack) -> None:
    record = record_of(stack)
    assert members(stack.directory) == []
    assert not Path(record.socket).exists()
    assert Path(record.socket).parent == stack.directory or not Path(record.socket).parent.exists()
    assert all(is_free("127.0.0.1", port) for port in record.ports.values())


def test_a_stack_from_up_to_down(own: Stack) -> None:
    own.environment["STACK_GATEWAYS"] = "2"
    own.up()
    document = json.loads(own.cli("status", "--json").stdout)
    assert {entry["process"].split("-")[0] for entry in document["processes"]} == set(PROCESSES)
    assert all(entry["ready"] and entry["restarts"] == 0 for entry in document["processes"])
    gateways = {entry["process"]: entry["ports"] for entry in document["processes"] if "gateway" in entry["process"]}
    assert gateways["gateway-0"]["GATEWAY_HTTP_PORT"] == gateways["gateway-1"]["GATEWAY_HTTP_PORT"]
    assert gateways["gateway-0"]["GATEWAY_STATUS_PORT"] + 1 == gateways["gateway-1"]["GATEWAY_STATUS_PORT"]
    page = httpx.get(f"{own.endpoints.http_url}/metrics").text
    for gateway in gateways:
        assert f'chaukas_process_starts_last_hour{{process="{gateway}"}} 1.0' in page
    table = own.cli("status").stdout
    assert all(name in table for name in PROCESSES)
    assert str(record_of(own).ports["GATEWAY_HTTP_PORT"]) in table

    again = own.cli("up", "--detach", check=False)
    assert again.returncode == 1
    assert "a stack runs in" in again.stderr
    assert "chaukas-gateway down" in again.stderr

    assert "started" in own.cli("logs", "kafka", "-n", "1000").stdout
    assert "there are: gateway-0" in own.cli("logs", "nonsense", check=False).stderr
    assert "no process nonsense; there are: gateway, gateway-0" in own.cli("restart", "nonsense", check=False).stderr

    # A process that dies is started again, and that is visible.
    own.signal("sink", signal.SIGKILL)
    wait_for("the restart to be counted", lambda: restarts(own)["sink"] == 1)
    own.wait_ready()

    # The supervisor is killed: its processes live on. The next `up` clears them away, on the same ports, with the data.
    before = record_of(own)
    os.kill(before.pid, signal.SIGKILL)
    wait_for("the supervisor to be gone", lambda: not before.alive)
    lost = own.cli("status", check=False)
    assert lost.returncode == 1
    assert "the supervisor is gone" in lost.stderr
    own.up()
    assert record_of(own).ports == before.ports
    os.kill(record_of(own).pid, signal.SIGKILL)
    own.down()
    assert_nothing_is_left(own)
    assert own.cli("status", check=False).returncode == 1
    assert "Nothing runs" in own.cli("down").stdout


@contextmanager
def foreground(stack: Stack) -> Iterator[subprocess.Popen[str]]:
    """`up` without --detach; its output goes line by line to the pipe."""
    environment = {**os.environ, "STACK_DIR": str(stack.directory), "STACK_PORTS": "auto"}
    command = [sys.executable, "-m", "cli.main", "up", "--no-demo"]

    def as_in_a_terminal() -> None:
        """A shell's background job, as a test run may be, ignores Ctrl-C, and so would what it starts."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, preexec_fn=as_in_a_terminal
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:  # it failed: do not wait for it for ever
                process.kill()


def read_until(process: subprocess.Popen[str], beginning: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(beginning):
            return
    raise AssertionError(f"`up` ended with {process.wait()} before it said {beginning!r}")


def test_in_the_foreground_ctrl_c_stops_everything(own: Stack) -> None:
    with foreground(own) as process:
        read_until(process, "Running")
        assert own.status().ready
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=120)
    assert process.returncode == 0, rest
    assert "Stopped" in rest
    assert_nothing_is_left(own)


def test_a_start_that_is_interrupted_leaves_nothing(own: Stack) -> None:
    own.directory /= "too long for a socket's path " * 4
    with foreground(own) as process:
        read_until(process, "Starting Kafka")
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=120)
    assert process.returncode == 130, rest
    assert "Interrupted" in rest
    assert_nothing_is_left(own)


def test_a_process_that_cannot_start_is_shown_and_nothing_is_left(own: Stack) -> None:
    own.environment["STACK_CLICKHOUSE_DSN"] = "mysql://nowhere"
    failed = own.cli("up", "--detach", "--no-demo", check=False)
    assert failed.returncode == 1
    assert "sink does not start" in failed.stderr
    assert "CLICKHOUSE_DSN" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert_nothing_is_left(own)


def test_refused_before_anything_is_started(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "s", {"STACK_PORTS": "fixed"})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stack.environment["GATEWAY_HTTP_PORT"] = str(port)
        refused = stack.cli("up", "--detach", check=False)
    assert refused.returncode == 1
    assert f"port {port} on 127.0.0.1 (GATEWAY_HTTP_PORT) is in use" in refused.stderr
    assert {path.name for path in stack.directory.iterdir()} == {"stack.lock"}

    (tmp_path / "file").write_text("")
    unusable = Stack(tmp_path / "file").cli("up", "--detach", check=False)
    assert unusable.returncode == 1
    assert "STACK_DIR" in unusable.stderr

    wrong = Stack(tmp_path / "s", {"GATEWAY_LINGER_MS": "soon"}).cli("up", "--detach", check=False)
    assert wrong.returncode == 1
    assert "GATEWAY_LINGER_MS='soon'" in wrong.stderr


def test_jars_that_cannot_be_downloaded_are_said(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:1"
    environment = {"M2_REPO": str(tmp_path / "m2"), "HTTPS_PROXY": nowhere, "https_proxy": nowhere}
    failed = Stack(tmp_path / "s", environment).cli("up", "--detach", check=False)
    assert failed.returncode == 1
    assert "Kafka's jars are incomplete" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not list((tmp_path / "m2").iterdir())


def test_status_for_machines_when_nothing_runs(tmp_path: Path) -> None:
    found = Stack(tmp_path).cli("status", "--json", check=False)
    assert found.returncode == 1
    document = json.loads(found.stdout)
    assert document["ready"] is False
    assert "chaukas-gateway up" in document["problem"]
    refused = Stack(tmp_path).cli("restart", check=False)
    assert refused.returncode == 1
    assert "no stack runs" in refused.stderr
