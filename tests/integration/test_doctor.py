"""`chaukas-gateway doctor` looks at the running system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from cli.doctor import store
from cli.doctor.findings import Severity
from cli.doctor.site import Site
from runtime.settings import SinkSettings, load
from sink.migrate import load as migrations
from tests.support.clickhouse_server import clickhouse_server
from tests.support.processors import free_port
from tests.support.stack import Stack


def test_a_running_stack_is_seen_whole_and_unchanged(stack: Stack) -> None:
    before = {p.process: p.pid for p in stack.status().processes}
    done = stack.cli("doctor", "--json", check=False)
    # Other tests kill this stack's processes and leave dead letters: those are warnings, not errors.
    assert done.returncode in (0, 1), done.stdout
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    fine = {(row["check"], row["subject"].split(" ")[0]) for row in rows if row["severity"] == "ok"}
    assert {
        ("configuration", "settings"),
        ("connectivity", "gateway"),
        ("connectivity", "processors"),
        ("connectivity", "query"),
        ("connectivity", "sink"),
        ("clock", "gateway"),
        ("topics", "chaukas.*"),
        ("lag", "chaukas-processors"),
        ("lag", "chaukas-sink"),
        ("schema", "embedded"),
        ("disk", str(stack.directory)),
    } <= fine, done.stdout
    assert any(check == "keys" for check, _ in fine)
    assert stack.endpoints.api_key not in done.stdout
    assert {p.process: p.pid for p in stack.status().processes} == before


def test_what_is_wrong_comes_with_its_remedy(stack: Stack) -> None:
    wrong = {"STACK_DIR": str(stack.directory), "KAFKA_TOPIC_PARTITIONS": "9", "PROCESSORS_BATCH_RECORDSS": "1"}
    done = Stack(stack.directory, wrong).cli("doctor", check=False)
    assert done.returncode == 1, done.stdout
    assert "did you mean" in done.stdout
    assert "PROCESSORS_BATCH_RECORDS?" in "".join(done.stdout.split())
    assert "topics apply" in done.stdout


def test_a_clickhouse_server_is_asked_for_its_schema_and_its_time(tmp_path: Path) -> None:
    with clickhouse_server(tmp_path) as server:
        dsn = server.dsn("default").replace("//", "//user:hunter2@")
        site = Site({}, tmp_path, sink=load(SinkSettings, clickhouse_dsn=dsn, http_port=free_port()))
        empty = list(store.check(site))
        assert [(one.check, one.severity) for one in empty] == [("store", Severity.OK), ("schema", Severity.ERROR)]
        command = [sys.executable, "-m", "sink", "--migrate-only"]
        subprocess.run(
            command,
            env={**os.environ, "SINK_HTTP_PORT": "0", "CLICKHOUSE_DSN": server.dsn("default")},
            check=True,
            timeout=60,
        )
        found = list(store.check(site))
    assert [(one.check, one.severity) for one in found] == [
        ("store", Severity.OK),
        ("clock", Severity.OK),
        ("schema", Severity.OK),
    ]
    assert f"migration {migrations()[-1].version}" in found[-1].message
    assert "hunter2" not in str([*empty, *found])
    (away,) = store.check(site)
    assert away.severity is Severity.ERROR
