"""The agent of docs/quickstart.md is what the SDK runs: unmodified, configured by its environment only."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from cli.render.tree import build
from tests.unit.cli.demo.conftest import HttpDoor

QUICKSTART = Path(__file__).parents[4] / "docs" / "quickstart.md"


def test_the_agent_of_the_quickstart_lands_its_events(door: HttpDoor, tmp_path: Path) -> None:
    (agent,) = re.findall(r"^```python\n(.*?)^```$", QUICKSTART.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    exports = dict(line.removeprefix("export ").split("=", 1) for line in door.endpoints().exports())
    done = subprocess.run(
        [sys.executable, "-c", agent],
        env=os.environ | exports,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    assert {event.session_id for event in door.events} == {done.stdout.strip()}
    (session,) = build(sorted(door.events, key=lambda event: event.timestamp.ToNanoseconds())).nodes
    assert [(node.kind, node.is_open) for node, _, _ in build(door.events).walk()] == [
        ("session", False),
        ("agent", False),
        ("mcp call", False),
    ]
    assert session.children[0].children[0].text == "catalogue find_book"
