"""Secrets and content are in nothing that a run leaves behind: logs at DEBUG, metrics, spans, errors, status, process lists."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2

from cli.stack.credentials import ADMIN_TOKEN_FILE, sink_token
from contracts.v1 import insights_pb2
from tests.support.events import event
from tests.support.otlp import Collector
from tests.support.stack import PROCESSES, Client, Stack
from tests.support.waiting import wait_for


class Markers:
    """Strings that occur nowhere else, by what they stand in for."""

    def __init__(self) -> None:
        self._made: dict[str, str] = {}

    def __call__(self, what: str) -> str:
        return self._made.setdefault(what, f"marker-{uuid.uuid4().hex}")

    def found_in(self, text: str) -> list[str]:
        return [what for what, marker in self._made.items() if marker in text]

    def know(self, what: str, secret: str) -> None:
        self._made[what] = secret


def everything(stack: Stack) -> dict[str, str]:
    """All that the stack's processes produced and show, by where it is."""
    logs = sorted((stack.directory / "logs").rglob("*"))
    found = {
        str(path.relative_to(stack.directory)): path.read_text(errors="replace") for path in logs if path.is_file()
    }
    record = json.loads((stack.directory / "stack.json").read_text())
    found["stack.json"] = json.dumps(record)
    found["status"] = stack.cli("status", "--json", check=False).stdout + stack.cli("status", check=False).stdout
    found["logs"] = stack.cli("logs", "-n", "1000").stdout
    for process in PROCESSES:
        for pid in stack.pids(process).values():
            for one in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
                found[f"ps {process} {one.pid}"] = " ".join(one.cmdline())
    for port in _ports(record):
        for page in ("metrics", "readyz", "healthz", "openapi.json"):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5) as answer:
                    found[f"{port}/{page}"] = answer.read().decode()
            except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError):  # some speak no HTTP
                continue
    assert sum(name.endswith("/metrics") for name in found) >= 3, found.keys()
    return found


def _ports(document: Any) -> set[int]:
    """Every number in the stack's record that can be a port, and those in its addresses."""
    if isinstance(document, dict):
        return set().union(*(_ports(value) for value in document.values()))
    if isinstance(document, list):
        return set().union(*(_ports(value) for value in document))
    if isinstance(document, str) and document.rpartition(":")[2].isdigit():
        return {int(document.rpartition(":")[2])}
    return {document} if isinstance(document, int) and 1024 < document < 65536 else set()


def full_of(marker: Markers, name: str, tenant: str, project: str, event_id: str) -> list[pb.Event]:
    """Events whose every content is a marker."""
    common: dict[str, Any] = {"tenant": tenant, "project": project, "session": marker(f"{name} session")}
    said = event(pb.EVENT_TYPE_MODEL_INVOCATION_START, event_id=event_id + "1", **common)
    said.llm_invocation.request.update({"messages": [{"content": marker(f"{name} prompt")}]})
    said.agent_name = marker(f"{name} agent")
    said.metadata.update({marker(f"{name} key"): marker(f"{name} metadata")})
    called = event(pb.EVENT_TYPE_TOOL_CALL_START, event_id=event_id + "2", **common)
    called.tool_call.name = marker(f"{name} tool")
    called.tool_call.arguments.update({"password": marker(f"{name} argument")})
    failed = event(pb.EVENT_TYPE_MCP_CALL_END, event_id=event_id + "3", **common)
    failed.error.error_message = marker(f"{name} error")
    failed.tags.append(marker(f"{name} tag"))
    handed = event(pb.EVENT_TYPE_AGENT_HANDOFF, event_id=event_id + "4", **common)
    handed.agent_handoff.to_agent_id = marker(f"{name} target")
    handed.agent_handoff.reason = marker(f"{name} reason")
    return [said, called, failed, handed]


def refusals(stack: Stack, marker: Markers) -> dict[str, str]:
    """Everything wrong that a client can send, full of markers; the answers."""
    endpoints, key = stack.endpoints, stack.endpoints.api_key
    answers: dict[str, str] = {}
    right = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=endpoints.http_url, timeout=30) as door:

        def send(what: str, path: str, body: bytes | str, headers: dict[str, str]) -> None:
            data = body if isinstance(body, bytes) else body.encode()
            answer = door.post(path, content=data, headers=headers)
            answers[what] = f"{answer.status_code} {answer.headers} {answer.text}"

        as_json, as_protobuf = {"content-type": "application/json"}, {"content-type": "application/x-protobuf"}
        for scheme in ("Bearer", "Basic", ""):
            wrong = {"authorization": f"{scheme} {marker(f'wrong key {scheme}')}".strip()}
            send(f"wrong key {scheme}", "/v1/events", b"", {**as_json, **wrong})
        jwt = f"eyJhbGciOiJub25lIn0.{marker('token claims')}.{marker('token signature')}"
        send("token", "/v1/events", b"", {**as_json, "authorization": f"Bearer {jwt}"})
        ck = f"ck_{marker('unknown key')[:20]}_{marker('unknown secret')}"
        send("almost a key", "/v1/query", b"", {**as_json, "authorization": f"Bearer {ck}"})
        send("bad JSON", "/v1/events", f'{{"event_id": "{marker("bad JSON")}', {**as_json, **right})
        send(
            "bad value",
            "/v1/events",
            json.dumps({"type": marker("enum"), "timestamp": marker("time")}),
            {**as_json, **right},
        )
        batch = {"events": [{"event_id": "x", "type": marker("batch enum")}, {"severity": marker("batch severity")}]}
        send("bad batch", "/v1/events/batch", json.dumps(batch), {**as_json, **right})
        send("bad protobuf", "/v1/events", b"\xff\xff" + marker("bad protobuf").encode(), {**as_protobuf, **right})
        send("bad media", "/v1/events", marker("bad media"), {"content-type": marker("media type"), **right})
        send("unknown path", f"/v1/{marker('path')}?q={marker('query string')}", b"", right)
        odd = {"x-odd": marker("header"), "user-agent": marker("user agent"), "traceparent": marker("traceparent")}
        send("odd headers", "/v1/events", b"{}", {**as_json, **right, **odd, "cookie": marker("cookie")})
        asked = {
            "filter": {"text_query": marker("words"), "tags": [marker("asked tag")]},
            "page_token": marker("page token"),
        }
        send("bad token", "/v1/query", json.dumps(asked), {**as_json, **right})
        other = {"filter": {"tenant_id": marker("asked tenant")}}
        send("other tenant", "/v1/query", json.dumps(other), {**as_json, **right})
        foreign = full_of(marker, "foreign", marker("foreign tenant"), "p", "foreign-")
        for number, one in enumerate(foreign):
            request = server_pb2.IngestEventRequest(event=one)
            send(f"foreign {number}", "/v1/events", request.SerializeToString(), {**as_protobuf, **right})
        long = server_pb2.IngestEventRequest(event=event(session=marker("long id") * 20, tenant=endpoints.tenant_id))
        send("long id", "/v1/events", long.SerializeToString(), {**as_protobuf, **right})
        invalid = event(tenant=endpoints.tenant_id, event_id="invalid").SerializeToString() + b"\x6a\x28\xff"
        data = invalid + marker("invalid UTF-8").encode()[:39]
        send(
            "invalid UTF-8",
            "/v1/events",
            b"\x0a" + bytes([len(data)]) + data if len(data) < 128 else data,
            {**as_protobuf, **right},
        )

    client = Client(stack)
    try:
        calls: list[tuple[str, Any, Any, tuple[tuple[str, str | bytes], ...]]] = [
            ("no key", client.stub.IngestEvent, long, ()),
            ("wrong", client.stub.IngestEvent, long, (("authorization", f"Bearer {marker('grpc key')}"),)),
            ("bad utf-8", client.stub.IngestEvent, long, (*client.metadata, ("x-odd", marker("metadata")))),
            ("foreign", client.stub.IngestEvent, server_pb2.IngestEventRequest(event=foreign[0]), client.metadata),
        ]
        query = server_pb2.QueryEventsRequest()
        query.query.page_token = marker("grpc page token")
        query.query.filter.agent_id = marker("asked agent")
        calls.append(("query", client.stub.QueryEvents, query, client.metadata))
        listing = insights_pb2.ListHandoffsRequest(page_token=marker("listing token"))
        listing.filter.tags.append(marker("listing tag"))
        calls.append(("listing", client.insights.ListHandoffs, listing, client.metadata))
        for what, call, request, metadata in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call(request, metadata=metadata, timeout=20)
            error: Any = caught.value
            answers[f"grpc {what}"] = f"{error.code()} {error.details()} {error.trailing_metadata()}"
        for name in ("words", "agent"):  # and one that is answered
            found = server_pb2.QueryEventsRequest()
            found.query.filter.text_query = found.query.filter.agent_id = marker(f"good {name}")
            client.stub.QueryEvents(found, metadata=client.metadata, timeout=20)
    finally:
        client.close()
    # grpc logs the header's value by itself when it is no UTF-8: perhaps a key.
    from tests.security.raw_calls import call_with_bytes

    answers["grpc bytes"] = call_with_bytes(endpoints.grpc_target, b"Bearer \xff" + marker("undecodable key").encode())
    return answers


def test_a_run_leaves_no_secret_and_no_content_behind(loud_stack: Stack, collector: Collector) -> None:
    stack, marker = loud_stack, Markers()
    endpoints = stack.endpoints
    marker.know("development key", endpoints.api_key.split("_")[2])
    marker.know("token between gateway and sink", sink_token(stack.directory))
    marker.know("operators' token", (stack.directory / ADMIN_TOKEN_FILE).read_text().strip())
    client = Client(stack)
    try:
        events = full_of(marker, "accepted", endpoints.tenant_id, endpoints.project_id, "accepted-")
        client.send_until_accepted(events)
        client.wait_stored({one.event_id for one in events}, session_id=events[0].session_id)
    finally:
        client.close()
    for what, answer in refusals(stack, marker).items():
        # A caller may read the names of its own fields, never values; what it asked for by name is in no answer either.
        assert marker.found_in(answer) == [], (what, answer)
    for where, text in everything(stack).items():
        assert marker.found_in(text) == [], where
    inserted = "INSERT events"
    wait_for("the last spans", lambda: any(one.span.name == inserted for one in list(collector.spans)))
    for body in list(collector.bodies):
        assert marker.found_in(body.decode(errors="replace")) == []
    # It says something: the test would pass on silence too.
    gateway = (
        (stack.directory / "logs" / "gateway-0.log") if (stack.directory / "logs" / "gateway-0.log").exists() else None
    )
    texts = [gateway.read_text()] if gateway else [p.read_text() for p in (stack.directory / "logs").glob("gateway*")]
    assert any('"level": "debug"' in text or "gateway_started" in text for text in texts)


def what_it_says(module: str, environment: dict[str, str], until: str) -> str:
    """What a process says until it has said `until` or ends, and then until it is stopped."""
    given = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "SINK_", "KAFKA_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        env={**given, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    timer = threading.Timer(60, process.kill)
    timer.start()
    try:
        for line in process.stdout:
            lines.append(line)
            if until in line:
                break
        process.terminate()
        lines.append(process.communicate()[0])
    finally:
        timer.cancel()
        process.kill()
        process.wait()
    return "".join(lines)


@pytest.mark.parametrize(
    ("module", "wrong", "says"),
    [
        ("gateway", {"GATEWAY_GRPC_PORT": "none", "GATEWAY_SINK_TOKEN": "MARK"}, "GATEWAY_GRPC_PORT='none'"),
        ("sink", {"CLICKHOUSE_DSN": "clickhouse://user:MARK@host:port/db"}, "CLICKHOUSE_DSN"),
        ("sink", {"CLICKHOUSE_DSN": "clickhouse://user:MARK@host/db?secret=MARK"}, "CLICKHOUSE_DSN"),
        ("sink", {"CLICKHOUSE_DSN": "clickhouse://user:MARK@127.0.0.1:1/db", "SINK_LOG_LEVEL": "debug"}, "127.0.0.1"),
        (
            "sink",
            {"SINK_TOKEN": "MARK", "SINK_ADMIN_TOKEN": "MARK", "SINK_GRPC_PORT": "0"},
            "SINK_ADMIN_TOKEN must not",
        ),
        (
            "gateway",
            {
                "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
                "KAFKA_SASL_MECHANISM": "PLAIN",
                "KAFKA_SASL_USERNAME": "user",
                "KAFKA_SASL_PASSWORD": "MARK",
                "KAFKA_DEBUG": "broker,security",
                "GATEWAY_LOG_LEVEL": "debug",
            },
            "kafka_not_ready",
        ),
        ("gateway", {"KAFKA_SASL_PASSWORD": "MARK", "KAFKA_SECURITY_PROTOCOL": "NONSENSE"}, "security.protocol"),
        (
            "gateway",
            {"KAFKA_SSL_KEY_PASSWORD": "MARK", "KAFKA_SSL_KEY_PEM": "MARK", "KAFKA_SECURITY_PROTOCOL": "SSL"},
            "ssl",
        ),
    ],
)
def test_wrong_settings_are_told_without_their_secrets(
    tmp_path: Path, module: str, wrong: dict[str, str], says: str
) -> None:
    marker = f"marker-{uuid.uuid4().hex}"
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "GATEWAY_KEYS_FILE": str(tmp_path / "keys.json"),
        "GATEWAY_GRPC_PORT": "0",
        "GATEWAY_HTTP_PORT": "0",
        "SINK_HTTP_PORT": "0",
        "CLICKHOUSE_DSN": f"chdb:///{tmp_path / 'clickhouse'}",
        **{name: value.replace("MARK", marker) for name, value in wrong.items()},
    }
    said = what_it_says(module, environment, says)
    assert marker not in said
    assert says in said
