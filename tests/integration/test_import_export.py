"""Files go in, the same events come out, and `tail` saw them come."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pyarrow.parquet as pq
from google.protobuf.json_format import MessageToDict

from tests.support.events import seeded_sessions
from tests.support.stack import Client, Stack
from tests.support.waiting import wait_for


def test_import_export_and_tail(stack: Stack, client: Client, tmp_path: Path) -> None:
    tenant, project = stack.endpoints.tenant_id, f"files-{uuid.uuid4().hex[:8]}"
    sessions = list(seeded_sessions(901, 40, tenant=tenant, project=project))
    for number, one in enumerate(x for session in sessions for x in session):
        one.event_id = f"{project}-{number}"
        one.session_id = f"{project}-{one.session_id}"
    source = tmp_path / "in"
    source.mkdir()
    for number, session in enumerate(sessions):
        lines = (json.dumps(MessageToDict(one, preserving_proto_field_name=True)) + "\n" for one in session)
        (source / f"{number:03}.jsonl").write_text("".join(lines))
    ids = {one.event_id for session in sessions for one in session}

    first = json.loads(stack.cli("import", str(source), "--json").stdout)
    assert (first["files"], first["accepted"], first["rejected"]) == (40, len(ids), 0)
    assert json.loads(stack.cli("import", str(source), "--json").stdout)["lines"] == 0
    client.wait_stored(ids, project_id=project)

    out = tmp_path / "out.parquet"
    stack.cli("export", "-o", str(out), "--project", project)
    rows = pq.read_table(out).to_pylist()
    assert {row["event_id"] for row in rows} == ids
    assert len(rows) == len(ids)
    assert all(row["received_at"] and row["timestamp"] for row in rows)
    some = stack.cli("export", "-o", "-", "--project", project, "--type", "MCP_CALL_END").stdout.splitlines()
    assert 0 < len(some) == sum(row["type"] == "MCP_CALL_END" for row in rows)


def test_tail_shows_what_comes(stack: Stack, client: Client, tmp_path: Path) -> None:
    project = f"tail-{uuid.uuid4().hex[:8]}"
    out = tmp_path / "out"
    with out.open("wb") as file:
        process = subprocess.Popen(
            # As many lines as there will be events: some may be visible before it has begun.
            [sys.executable, "-m", "cli.main", "tail", "--json", "--project", project, "--lines", "100"],
            env=stack._environment(),
            stdout=file,
            # A test run that was started in the background ignores SIGINT, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        (session,) = seeded_sessions(902, 1, tenant=stack.endpoints.tenant_id, project=project, start_ns=time.time_ns())
        for number, one in enumerate(session):
            one.event_id = f"{project}-{number}"
        client.send_until_accepted(session)
        wait_for("tail to show them all", lambda: len(out.read_text().splitlines()) >= len(session))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        shown = [json.loads(line)["event_id"] for line in out.read_text().splitlines()]
        assert sorted(shown) == sorted(one.event_id for one in session)
    finally:
        process.kill()
        process.wait()
