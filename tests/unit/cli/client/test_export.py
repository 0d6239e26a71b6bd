"""`export` against the fake gateway: everything, whole, in both formats, or no file at all."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from chaukas.spec.common.v1 import events_pb2
from google.protobuf import struct_pb2

from cli.client import export as export_module
from cli.client.export_rows import SCHEMA, row
from contracts.spec_json import event_from_json
from tests.support.events import event, seeded_sessions
from tests.unit.cli.client.conftest import Run
from tests.unit.cli.fake_gateway import UNAVAILABLE, FakeGateway, bad_request, status

DOCS = Path(__file__).parents[4] / "docs" / "import_export.md"


@pytest.fixture
def stored(gateway: FakeGateway) -> list[events_pb2.Event]:
    gateway.page_rows = 7
    gateway.events = [x for session in seeded_sessions(3, 8, tenant="t", project="p") for x in session]
    return gateway.events


def test_all_pages_come_out_as_lines_that_can_be_sent_again(
    run: Run, gateway: FakeGateway, stored: list[events_pb2.Event], tmp_path: Path
) -> None:
    done = run("export", "-o", "out.jsonl")
    assert done.exit_code == 0, done.stderr
    assert f"{len(stored):,} events written to out.jsonl" in done.stderr
    read = [event_from_json(json.loads(line)) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert read == stored
    gateway.events = []
    assert run("send", "out.jsonl").exit_code == 0
    assert len(gateway.events) == len(read)


def test_parquet_has_the_documented_columns_and_every_event(
    run: Run, stored: list[events_pb2.Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "GROUP_EVENTS", 20)
    assert run("export", "-o", "out.parquet").exit_code == 0
    file = pq.ParquetFile(tmp_path / "out.parquet")
    assert file.num_row_groups > 2  # memory is bounded by the group, not by the file
    table = file.read()
    assert table.schema.equals(SCHEMA)
    # Not by bytes: an encoder writes a map's entries in any order.
    assert [events_pb2.Event.FromString(data) for data in table["event"].to_pylist()] == stored
    assert table["event_id"].to_pylist() == [one.event_id for one in stored]
    documented = [line.split("`")[1] for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    assert documented == SCHEMA.names


def test_standard_output_has_nothing_but_the_events(run: Run, stored: list[events_pb2.Event]) -> None:
    done = run("export", "-o", "-")
    assert len(done.stdout.splitlines()) == len(stored)
    parquet = run("export", "-o", "-", "--format", "parquet")
    assert pq.read_table(io.BytesIO(parquet.stdout_bytes)).num_rows == len(stored)


def test_a_page_that_fails_for_now_is_asked_for_again(
    run: Run, gateway: FakeGateway, stored: list[events_pb2.Event]
) -> None:
    gateway.failures = [UNAVAILABLE]
    done = run("export", "-o", "out.jsonl")
    assert done.exit_code == 0
    assert "trying again" in done.stderr


def test_an_export_that_fails_leaves_no_file_and_the_old_one_untouched(
    run: Run, gateway: FakeGateway, stored: list[events_pb2.Event], tmp_path: Path
) -> None:
    (tmp_path / "out.jsonl").write_text("old\n")
    gateway.failures = [status(3, "no", bad_request(("filter", "no")))]
    assert run("export", "-o", "out.jsonl").exit_code == 3
    assert (tmp_path / "out.jsonl").read_text() == "old\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert run("export", "-o", "no/such/directory.jsonl").exit_code == 3


def test_filters_are_the_queries_own(run: Run, gateway: FakeGateway, stored: list[events_pb2.Event]) -> None:
    assert run("export", "-o", "o", "--type", "mcp_call_end", "--tag", "x", "--status", "failed").exit_code == 0
    chosen = gateway.requests[-1][1].query.filter
    assert list(chosen.types) == [events_pb2.EVENT_TYPE_MCP_CALL_END]
    assert list(chosen.statuses) == [events_pb2.EVENT_STATUS_FAILED]
    assert list(chosen.tags) == ["x"]
    assert run("export", "-o", "o", "--type", "nothing").exit_code == 2


def test_a_row_shows_what_the_server_knows() -> None:
    made = event(
        events_pb2.EVENT_TYPE_MCP_CALL_END, mcp_call=events_pb2.MCPCall(server_name="s", operation="o"), tags=["a", "b"]
    )
    made.metadata.update({"k": 1})
    extension = struct_pb2.Struct()
    received = "2026-01-31T12:00:00.000000001Z"
    extension.get_or_create_struct("chaukas.gateway").update(
        {"received_at": received, "effective_status": "EVENT_STATUS_FAILED", "duration_ms": 2.5}
    )
    made.extensions.add().Pack(extension)
    found = row(made)
    assert (found["received_at"], found["effective_status"], found["duration_ms"]) == (
        received,
        "FAILED",
        2.5,
    )
    assert (found["type"], found["content_kind"], found["tags"]) == ("MCP_CALL_END", "mcp_call", ["a", "b"])
    assert json.loads(found["content"]) == {"server_name": "s", "operation": "o"}
    assert json.loads(found["metadata"]) == {"k": 1}


def test_times_no_column_holds_are_null_and_whole_in_the_event() -> None:
    made = event()
    made.timestamp.seconds = 253_402_300_799
    assert row(made)["timestamp"] is None
    assert events_pb2.Event.FromString(row(made)["event"]) == made
    made.ClearField("timestamp")
    assert row(made)["timestamp"] is None
