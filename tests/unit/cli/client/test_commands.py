"""The commands as a shell runs them, against the fake gateway."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chaukas.spec.common.v1 import events_pb2, query_pb2

from contracts.spec_json import event_from_json
from contracts.v1 import facts_pb2, insights_pb2
from tests.support.events import event, seeded_sessions
from tests.unit.cli.client.conftest import Run
from tests.unit.cli.client.test_jsonl import sdk_line
from tests.unit.cli.fake_gateway import UNAVAILABLE, FakeGateway


def write(path: Path, *lines: bytes) -> str:
    path.write_bytes(b"".join(lines))
    return str(path)


def test_send_counts_and_stores(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    made = [x for session in seeded_sessions(1, 60, tenant="t", project="p") for x in session]
    assert len(made) > 1000
    result = run("send", write(tmp_path / "e.jsonl", *map(sdk_line, made)))
    assert result.exit_code == 0, result.stderr
    assert f"{len(made):,} accepted, 0 rejected" in result.stdout
    assert [x.event_id for x in gateway.events] == [x.event_id for x in made]
    assert all(len(request.event_batch.events) <= 1000 for _, request in gateway.requests)


def test_send_names_each_rejected_line(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "e.jsonl", sdk_line(event()), b"no\n", sdk_line(event(tenant="x", event_id="e3")))
    result = run("send", file)
    assert result.exit_code == 1
    assert "1 accepted, 2 rejected" in result.stdout
    assert f"{file}:2: not JSON: column 1: Expecting value" in result.stderr
    assert f"{file}:3: event e3: tenant_id: the key is bound to another tenant" in result.stderr


def test_send_overrides_and_reads_standard_input(run: Run, gateway: FakeGateway) -> None:
    source = sdk_line(event(tenant="x", project="y", event_id="e1"))
    result = run("send", "-", "--tenant", "t", "--project", "p2", "--json", stdin=source)
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["accepted"] == 1
    assert summary["rejects"] == []
    assert (gateway.events[0].tenant_id, gateway.events[0].project_id) == ("t", "p2")


def test_send_says_how_far_it_came(run: Run, gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.failures = [UNAVAILABLE]
    result = run("send", write(tmp_path / "e.jsonl", sdk_line(event())), "--retry-seconds", "0", "--json")
    assert result.exit_code == 3
    summary = json.loads(result.stdout)
    assert summary["accepted"] == 0
    assert "Kafka does not answer" in summary["error"]
    assert "Kafka does not answer" in result.stderr


def test_send_without_a_file(run: Run) -> None:
    result = run("send", "missing.jsonl")
    assert result.exit_code == 2
    assert "missing.jsonl cannot be read: No such file" in result.stderr


def test_query_sends_every_field_of_the_filter(run: Run, gateway: FakeGateway) -> None:
    options = (
        "--tenant t --project p --session s --agent a --span sp --trace tr --type mcp_call_end --type AGENT-START "
        "--type EVENT_TYPE_ERROR --type 77 --status failed --severity warn --tag x --tag y --text hello "
        "--since 2026-01-01 --until 2026-01-02T00:00:00.5Z --limit 7 --asc"
    )
    result = run("query", *options.split())
    assert result.exit_code == 0, result.stderr
    ((_, request),) = gateway.requests
    expected = query_pb2.QueryRequest(
        filter=query_pb2.QueryFilter(
            tenant_id="t",
            project_id="p",
            session_id="s",
            agent_id="a",
            span_id="sp",
            trace_id="tr",
            types=[
                events_pb2.EVENT_TYPE_MCP_CALL_END,
                events_pb2.EVENT_TYPE_AGENT_START,
                events_pb2.EVENT_TYPE_ERROR,
                77,
            ],
            statuses=[events_pb2.EVENT_STATUS_FAILED],
            severities=[events_pb2.SEVERITY_WARN],
            tags=["x", "y"],
            text_query="hello",
        ),
        page_size=7,
        order_by_time=query_pb2.SORT_ORDER_ASC,
    )
    expected.filter.time.start.FromJsonString("2026-01-01T00:00:00Z")
    expected.filter.time.end.FromJsonString("2026-01-02T00:00:00.5Z")
    assert request.query == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("query", "--type", "mcp_cal_end"), "Did you mean MCP_CALL_END?"),
        (("query", "--since", "yesterday"), "--since: 'yesterday' is not a time"),
        (("query", "--since", "1h", "--until", "2h"), "--since is not before --until"),
        (("query", "--tree"), "--tree shows one session: give --session"),
        (("query", "--limit", "0"), "--limit"),
        (("mcp", "--status", "broken"), "none of OK, ERROR, OPEN"),
        (("mcp", "--stats", "--session", "s"), "--session: only for the list"),
        (("handoffs", "--stats", "--agent", "a", "--text", "b"), "--agent, --text: only for the list"),
        (("stats", "--endpoint", "nowhere"), "host:port"),
    ],
)
def test_wrong_usage_names_the_option(run: Run, gateway: FakeGateway, arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert gateway.requests == []


def test_query_json_round_trips_and_follows_pages(run: Run, gateway: FakeGateway) -> None:
    gateway.events = [x for session in seeded_sessions(2, 3, tenant="t", project="p") for x in session]
    gateway.page_rows = 7
    result = run("query", "--all", "--asc", "--json")
    assert [event_from_json(json.loads(text)) for text in result.stdout.splitlines()] == gateway.events
    few = run("query", "--limit", "10", "--json")
    assert [json.loads(text)["event_id"] for text in few.stdout.splitlines()] == [
        x.event_id for x in gateway.events[:-11:-1]
    ]


def test_query_table(run: Run, gateway: FakeGateway) -> None:
    gateway.events = [
        event(events_pb2.EVENT_TYPE_INPUT_RECEIVED, message=events_pb2.MessageContent(text="a \x1b[2J [red]b"))
    ]
    result = run("query")
    assert "INPUT_RECEIVED" in result.stdout
    assert "“a \ufffd[2J [red]b”" in result.stdout
    assert "\x1b" not in result.stdout


def test_query_tree(run: Run, gateway: FakeGateway) -> None:
    gateway.events = [x for session in seeded_sessions(2, 2, tenant="t", project="p") for x in session]
    result = run("query", "--session", "session-2-1", "--tree")
    assert result.exit_code == 0
    assert "session session-2-1" in result.stdout
    assert "└─" in result.stdout


def test_nothing_found_is_said_on_stderr_only(run: Run) -> None:
    for command in ("query", "handoffs", "mcp"):
        result = run(command)
        assert (result.exit_code, result.stdout) == (0, "")
        assert "match" in result.stderr
        assert run(command, "--json").output == ""


def test_stats(run: Run, gateway: FakeGateway) -> None:
    gateway.events = [event(), event(events_pb2.EVENT_TYPE_ERROR), event(events_pb2.EVENT_TYPE_ERROR, session="s2")]
    result = run("stats", "--since", "2026-01-01")
    assert "3 events in 2 sessions, 1.23 s long on average" in result.stdout
    assert [text.split()[0] for text in result.stdout.splitlines()[-2:]] == ["ERROR", "AGENT_START"]
    document = json.loads(run("stats", "--json").stdout)
    assert document["total_events"] == 3
    assert document["events_by_type"]["EVENT_TYPE_ERROR"] == 2


def test_handoffs(run: Run, gateway: FakeGateway) -> None:
    gateway.handoffs = [
        facts_pb2.HandoffFact(
            handoff_id="h",
            from_agent_name="triage",
            to_agent_id="billing",
            hop=2,
            returns_to_earlier_agent=True,
            latency_ms=12.5,
            reason="needs rights",
        ),
        facts_pb2.HandoffFact(handoff_id="h2", from_agent_name="a", to_agent_id="b"),
    ]
    gateway.edges = [
        insights_pb2.HandoffEdge(from_agent_name="triage", to_agent_name="billing", count=4, loops=1, p50_latency_ms=20)
    ]
    table = run("handoffs", "--session", "s").stdout
    assert "→ billing" in table
    assert "↺ loop" in table
    assert "12 ms" in table
    assert "not yet" in table
    assert gateway.requests[0][1].filter.session_id == "s"
    assert json.loads(run("handoffs", "--json").stdout.splitlines()[0])["latency_ms"] == 12.5
    edges = run("handoffs", "--stats", "--project", "p", "--since", "2026-01-01").stdout
    assert edges.splitlines()[-1].split() == ["triage", "→", "billing", "4", "1", "20", "ms"]
    request = gateway.requests[-1][1]
    assert (request.project_id, request.time_range.start.seconds) == ("p", 1_767_225_600)


def test_mcp(run: Run, gateway: FakeGateway) -> None:
    gateway.calls = [
        facts_pb2.McpCallFact(
            call_id="c",
            server_name="payments",
            operation="refund",
            status=facts_pb2.MCP_CALL_STATUS_ERROR,
            measured_ms=88,
            error_code="429",
            error_message="slow down",
        ),
        facts_pb2.McpCallFact(
            call_id="d", server_name="ledger", operation="post", status=facts_pb2.MCP_CALL_STATUS_OPEN
        ),
    ]
    gateway.servers = [
        insights_pb2.McpServerStats(server_name="payments", operation="refund", calls=3, errors=1, open=0, p50_ms=1500)
    ]
    table = run("mcp", "--status", "open", "--status", "ERROR").stdout
    assert "429: slow down" in table
    assert "◌" in table
    assert list(gateway.requests[0][1].filter.statuses) == [
        events_pb2.EVENT_STATUS_STARTED,
        events_pb2.EVENT_STATUS_FAILED,
    ]
    assert [json.loads(text)["status"] for text in run("mcp", "--json").stdout.splitlines()] == ["ERROR", "OPEN"]
    servers = run("mcp", "--stats").stdout
    assert servers.splitlines()[-1].split() == ["payments", "refund", "3", "1", "33", "%", "0", "1.50", "s"]
