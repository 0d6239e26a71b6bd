"""What each check makes of what it sees; nothing is asked over a network."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.doctor import configuration, doors, files, kafka, stack, store
from cli.doctor.commands import run
from cli.doctor.findings import Check, Finding, Severity, exit_code
from cli.doctor.pages import Page
from cli.doctor.site import Site
from cli.main import app
from cli.stack.record import Record
from cli.stack.status import ProcessStatus
from contracts.api_keys import generate
from contracts.identity import Scope
from runtime.keyfile import write_keys

DAY = 86_400


def site(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Site.find({"STACK_DIR": str(tmp_path / "none"), **environment})


def texts(findings: Iterator[Finding]) -> list[tuple[str, str]]:
    return [(one.severity.value, f"{one.subject}: {one.message} {one.remedy}") for one in findings]


def test_wrong_settings_are_all_named_and_secrets_are_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wrong = {"GATEWAY_GRPC_PORT": "70000", "SINK_ROLE": "king", "CLICKHOUSE_DSN": "clickhouse://u:hunter2@h/d"}
    found = texts(configuration.check(site(wrong, monkeypatch, tmp_path)))
    assert [severity for severity, _ in found] == ["error", "error"]
    assert "GATEWAY_GRPC_PORT" in found[0][1]
    assert "SINK_ROLE" in found[1][1]
    assert "hunter2" not in str(found)


def test_a_mistyped_variable_is_found_with_the_one_that_was_meant() -> None:
    environment = {
        "GATEWAY_GRPC_PROT": "1",
        "SINK_BATCHROWS": "2",
        "PROCESSORS_NOTHING_LIKE_IT": "3",
        "GATEWAY_GRPC_PORT": "50051",
        "GATEWAY_ENDPOINT": "h:1",
        "GATEWAY_SERVICE_HOST": "10.0.0.1",
        "GATEWAY_PORT_8080_TCP_ADDR": "10.0.0.1",
        "SINK_PORT": "tcp://10.0.0.1:50052",
        "GATEWAY_GRPCPORT": "4",
        "PATH": "/bin",
    }
    found = {one.subject: one.remedy for one in configuration.unknown(environment)}
    assert found.keys() == {"GATEWAY_GRPC_PROT", "SINK_BATCHROWS", "PROCESSORS_NOTHING_LIKE_IT", "GATEWAY_GRPCPORT"}
    assert found["GATEWAY_GRPC_PROT"] == "did you mean GATEWAY_GRPC_PORT?"
    assert found["SINK_BATCHROWS"] == "did you mean SINK_BATCH_ROWS?"


def test_a_kafka_variable_that_librdkafka_does_not_know_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "KAFKA_SECURTY_PROTOCOL": "SSL"}
    found = texts(configuration.check(site(wrong, monkeypatch, tmp_path)))
    assert [text for severity, text in found if severity == "error" and "securty.protocol" in text]


def group(committed: int, members: int = 1) -> kafka.Group:
    return kafka.Group("g", members, {("t", 0): committed})


@pytest.mark.parametrize(
    ("one", "severity", "says"),
    [
        (group(100), Severity.OK, "0 records behind, 1 member"),
        (group(90), Severity.OK, "10 records behind"),
        (group(-1), Severity.OK, "90 records behind"),
        (group(90, members=0), Severity.ERROR, "nobody reads"),
        (group(100, members=0), Severity.OK, "0 members"),
        (group(3), Severity.ERROR, "7 records expired"),
    ],
)
def test_lag(one: kafka.Group, severity: Severity, says: str) -> None:
    finding = kafka.lag(one, {("t", 0): 10}, {("t", 0): 100})
    assert finding.severity is severity
    assert says in finding.message


def test_a_long_way_behind_is_a_warning() -> None:
    finding = kafka.lag(group(0), {("t", 0): 0}, {("t", 0): kafka.LAG_RECORDS + 1})
    assert finding.severity is Severity.WARNING


def test_replicas_that_are_not_in_sync_are_named() -> None:
    (finding,) = kafka.in_sync({("t", 0): (3, 3), ("t", 1): (2, 3)})
    assert (finding.severity, finding.message) == (Severity.WARNING, "replicas not in sync: t-1")
    (finding,) = kafka.in_sync({("t", 0): (3, 3)})
    assert finding.severity is Severity.OK


def key_file(path: Path, *expires: float | None) -> None:
    write_keys(path, [generate("acme", None, [Scope.QUERY], expires_at=at)[1] for at in expires])


def test_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path, now = tmp_path / "keys.json", 1_000 * DAY
    one = site({"GATEWAY_KEYS_FILE": str(path)}, monkeypatch, tmp_path)

    def found() -> list[tuple[str, str]]:
        return texts(files.keys(one, lambda: now))

    assert found()[0][0] == "error"  # it was named and is not there
    key_file(path, None, now - 3 * DAY, now + 2 * DAY, now + 90 * DAY)
    severities = [severity for severity, _ in found()]
    assert severities == ["warning", "warning", "ok"]
    path.chmod(0o644)
    assert "others may read it" in found()[0][1]
    key_file(path, now - DAY)
    assert found()[-1][0] == "error"
    path.write_text('{"keys": "hunter2"}')
    assert found()[0][0] == "error"
    assert "hunter2" not in str(found())


def test_keys_that_are_sealed_with_another_pepper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    write_keys(path, [generate("acme", None, [Scope.QUERY])[1]], b"p" * 32)
    for pepper, severity in (("p" * 32, "ok"), ("q" * 32, "error")):
        environment = {"GATEWAY_KEYS_FILE": str(path), "GATEWAY_KEYS_PEPPER": pepper}
        found = texts(files.keys(site(environment, monkeypatch, tmp_path)))
        assert [one for one, _ in found] == [severity]
        assert pepper not in str(found)


def test_a_key_file_nobody_named_is_not_missed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert [severity for severity, _ in texts(files.keys(site({}, monkeypatch, tmp_path)))] == ["skipped"]


@pytest.mark.parametrize(
    ("free_gib", "severity"), [(500, Severity.OK), (100, Severity.WARNING), (40, Severity.ERROR), (0.5, Severity.ERROR)]
)
def test_disk(free_gib: float, severity: Severity, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = site({"CLICKHOUSE_DSN": f"chdb:///{tmp_path}"}, monkeypatch, tmp_path)
    total = 1000 * 1024**3
    (finding,) = files.disk(one, lambda _: (total, 0, int(free_gib * 1024**3)))
    assert finding.severity is severity


@pytest.mark.parametrize(
    ("ahead", "error", "severity"),
    [
        (0.1, 0.1, "ok"),
        (-1.9, 0.0, "ok"),
        (2.5, 0.1, "warning"),
        (-60, 1.0, "warning"),
        (2.5, 1.0, "ok"),
        (None, 0.0, "skipped"),
    ],
)
def test_clocks(ahead: float | None, error: float, severity: str) -> None:
    assert doors.clock("x", Page(clock_ahead_seconds=ahead, clock_error_seconds=error)).severity.value == severity


@pytest.mark.parametrize(
    ("in_store", "sink", "severity"),
    [(7, 7, "ok"), (7, None, "ok"), (8, 7, "warning"), (6, 7, "error"), (0, 7, "error")],
)
def test_schema(in_store: int, sink: int | None, severity: str) -> None:
    assert store.schema(in_store, sink).severity.value == severity


def process(**changes: Any) -> ProcessStatus:
    values: dict[str, Any] = {
        "process": "sink",
        "state": "RUNNING",
        "ready": True,
        "missing": "",
        "pid": 1,
        "uptime_seconds": 5,
        "restarts": 0,
        "ports": {},
    }
    return ProcessStatus(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "severity", "says"),
    [
        ({}, Severity.OK, "runs"),
        ({"recent_exits": 1, "last_exit": "exit status 75"}, Severity.WARNING, "stall watchdog"),
        (
            {"crash_loop": True, "recent_exits": 5, "last_exit": "exit status 1", "last_words": "no disk"},
            Severity.ERROR,
            "no disk",
        ),
        ({"ready": False, "missing": "kafka: away"}, Severity.ERROR, "kafka: away"),
        ({"state": "FATAL"}, Severity.ERROR, "fatal"),
    ],
)
def test_processes(changes: dict[str, Any], severity: Severity, says: str) -> None:
    finding = stack.judge(process(**changes))
    assert finding.severity is severity
    assert says in finding.message


def test_the_local_stack_is_looked_at_where_its_record_says(tmp_path: Path) -> None:
    endpoints = {"kafka_bootstrap_servers": "127.0.0.1:4711"}
    Record(0, "", "", 0.0, 1, {"SINK_HTTP_PORT": 4712}, {}, endpoints).save(tmp_path)
    one = Site.find({"STACK_DIR": str(tmp_path)})
    assert one.record is not None
    assert one.kafka is not None
    assert one.kafka.bootstrap_servers == "127.0.0.1:4711"
    assert one.sink is not None
    assert one.sink.http_port == 4712
    assert one.gateway is not None
    assert one.gateway.keys_file == tmp_path / "keys.json"
    elsewhere = Site.find({"STACK_DIR": str(tmp_path), "KAFKA_BOOTSTRAP_SERVERS": "h:1"})
    assert elsewhere.record is None


def test_a_check_that_hangs_or_breaks_hides_nothing() -> None:
    forever = threading.Event()

    def hangs() -> Iterator[Finding]:
        yield Finding("a", "before", Severity.OK, "seen")
        forever.wait()

    def breaks() -> Iterator[Finding]:
        yield Finding("b", "before", Severity.OK, "seen")
        raise RuntimeError("hunter2")

    found = run([Check("a", hangs), Check("b", breaks)], 0.5)
    forever.set()
    assert [(one.check, one.severity.value) for one in found] == [
        ("a", "ok"),
        ("a", "error"),
        ("b", "ok"),
        ("b", "error"),
    ]
    assert "hunter2" not in str(found)
    assert exit_code(found) == 2


def test_exit_codes() -> None:
    def of(*severities: Severity) -> int:
        return exit_code([Finding("", "", severity, "") for severity in severities])

    assert of(Severity.OK, Severity.SKIPPED) == 0
    assert of(Severity.OK, Severity.WARNING) == 1
    assert of(Severity.WARNING, Severity.ERROR) == 2


def test_where_nothing_runs_it_says_so_in_one_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment = {
        "STACK_DIR": str(tmp_path),
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "CLICKHOUSE_DSN": "clickhouse://u:hunter2@127.0.0.1:1/d",
    }
    done = CliRunner().invoke(app, ["doctor", "--json"], env=environment)
    assert done.exit_code == 2
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    errors = {row["check"] for row in rows if row["severity"] == "error"}
    assert {"Kafka", "store"} <= errors
    assert all(row["remedy"] for row in rows if row["severity"] in ("warning", "error"))
    assert "hunter2" not in done.output
    shown = CliRunner().invoke(app, ["doctor"], env=environment)
    assert shown.exit_code == 2
    assert "KAFKA_BOOTSTRAP_SERVERS" in shown.output
