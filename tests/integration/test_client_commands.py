"""The commands, the demo and the quickstart's agent against the running system."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from rich.console import Console

from cli.demo import run
from tests.support.events import event, seeded_sessions
from tests.support.stack import Stack
from tests.support.waiting import wait_for

QUICKSTART = Path(__file__).parents[2] / "docs" / "quickstart.md"


def _lines(stack: Stack, *arguments: str) -> list[str]:
    return stack.cli(*arguments).stdout.splitlines()


def test_the_demo_comes_out_whole(stack: Stack) -> None:
    file = io.StringIO()
    assert run(stack.endpoints, Console(file=file, width=100, highlight=False))
    text = file.getvalue()
    assert len(text.splitlines()) <= 70
    (session,) = re.findall(r"^One session of two agents, session (\S+)", text, re.MULTILINE)
    assert "34 events went SDK" in text
    # What only the server knows: the paired durations, the recovered name, the price, the loop, the open call.
    assert re.search(r"mcp payments-mcp refund · rate limited by the provider +✖ +\d+ ms", text)
    assert re.search(r"model openai/gpt-4o-mini · 412 → 38 tokens · \$0\.0001 +✔ +\d+ ms", text)
    assert re.search(r"2 +billing +→ triage +↺ loop +\d+ ms", text)
    assert re.search(r"ledger-mcp +post_entry +1 +0 +0 % +1", text)
    assert re.search(r"payments-mcp +refund +2 +1 +50 % +0", text)
    tree = stack.cli("query", "--session", session, "--tree").stdout
    assert "34 events" in tree
    assert re.search(r"└─ agent triage +✔ +\d+ ms", tree)
    (failed,) = _lines(stack, "query", "--session", session, "--status", "failed", "--type", "mcp_call_end", "--json")
    recovered = json.loads(failed)["extensions"][-1]["value"]["chaukas.gateway"]["recovered"]
    assert recovered["mcp_server_name"] == "payments-mcp"


def test_a_file_goes_in_and_is_asked_for(stack: Stack, tmp_path: Path) -> None:
    project, tenant = f"file-{uuid.uuid4()}", stack.endpoints.tenant_id
    made = [x for session in seeded_sessions(501, 5, tenant=tenant, project=project) for x in session]
    for number, x in enumerate(made):
        x.event_id = f"{project}-{number}"
        x.session_id = f"{project}-{x.session_id}"
    file = tmp_path / "events.jsonl"
    with file.open("w") as out:
        for x in (*made, event(tenant="someone-else", event_id="foreign")):
            out.write(json.dumps(MessageToDict(x, preserving_proto_field_name=True)) + "\n")
        out.write("not an event\n")
    sent = stack.cli("send", str(file), check=False)
    assert sent.returncode == 1
    assert f"{len(made)} accepted, 2 rejected" in sent.stdout
    assert f"{file}:{len(made) + 1}: event foreign: tenant_id:" in sent.stderr
    assert f"{file}:{len(made) + 2}: not JSON" in sent.stderr
    assert stack.cli("send", str(file), "--json", check=False).returncode == 1  # again: stored once all the same

    def stored() -> int:
        return int(json.loads(stack.cli("stats", "--project", project, "--json").stdout)["total_events"])

    wait_for("the file's events to be stored", lambda: stored() >= len(made), seconds=60)
    assert stored() == len(made)
    assert len(_lines(stack, "query", "--project", project, "--all", "--json")) == len(made)
    kinds = [MessageToDict(x)["type"] for x in made]
    handoffs = _lines(stack, "handoffs", "--project", project, "--all", "--json")
    assert len(handoffs) == kinds.count("EVENT_TYPE_AGENT_HANDOFF")
    edges = [json.loads(line) for line in _lines(stack, "handoffs", "--stats", "--project", project, "--json")]
    assert sum(edge["count"] for edge in edges) == len(handoffs)
    calls = _lines(stack, "mcp", "--project", project, "--all", "--json")
    assert len(calls) == kinds.count("EVENT_TYPE_MCP_CALL_START")
    servers = [json.loads(line) for line in _lines(stack, "mcp", "--stats", "--project", project, "--json")]
    assert sum(server["calls"] for server in servers) == len(calls)
    assert sum(server["open"] for server in servers) == len(
        _lines(stack, "mcp", "--status", "open", "--project", project, "--all", "--json")
    )


def test_an_unmodified_agent_lands_its_events(stack: Stack, tmp_path: Path) -> None:
    (agent,) = re.findall(r"^```python\n(.*?)^```$", QUICKSTART.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    exports = dict(line.removeprefix("export ").split("=", 1) for line in stack.endpoints.exports())
    done = subprocess.run(
        [sys.executable, "-c", agent],
        env=os.environ | exports,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    session = done.stdout.strip()
    wait_for(
        "the agent's session", lambda: len(_lines(stack, "query", "--session", session, "--json")) == 6, seconds=30
    )
    assert re.search(r"mcp catalogue find_book +✔ +\d+ ms", stack.cli("query", "--session", session, "--tree").stdout)


def test_a_refusal_is_one_line(stack: Stack) -> None:
    refused = stack.cli("query", "--tenant", "someone-else", check=False)
    assert refused.returncode == 3
    assert re.fullmatch(r"error: PERMISSION_DENIED: .*\n", refused.stderr)
