"""Whatever a stranger sends, a line of the log is one event of ours, and a terminal that shows it obeys nothing in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cli.render.dead_letters import letter_table
from cli.render.events import event_table
from cli.render.handoffs import edge_table, handoff_table
from cli.render.json_lines import json_line
from cli.render.mcp import call_table, server_table
from cli.render.text import as_text
from cli.render.tree import build
from cli.render.tree_view import session_view
from contracts.v1 import facts_pb2, insights_pb2
from tests.support.any_message import any_message
from tests.support.hostile_texts import HOSTILE_TEXTS, hostile_texts

#: Line ends of any kind, terminal controls, and what reorders text.
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_PROGRAM = """
import json, logging, sys
from runtime.logs import configure, get_logger
from runtime.settings.base import LogFormat, LogLevel
configure("gateway", LogLevel.DEBUG, LogFormat(sys.argv[1]))
log = get_logger("a logger")
for text in json.load(sys.stdin):
    log.info("as a value", value=text)
    log.warning("inside values", listed=[text], mapped={text: text}, raw=text.encode("utf-8", "surrogatepass"))
    log.error("as a name", **{"x" + text: 1})
    log.info(text)
    logging.getLogger("library").error("of a library: %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("with a traceback")
"""
_LINES_EACH = 6


def logged(log_format: str, texts: list[str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, log_format],
        input=json.dumps(texts),
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=True,
    )
    assert done.stdout == ""
    return done.stderr.split("\n")[:-1]


TEXTS = [*hostile_texts(1, 200), "\ud800", "half a pair \udfff"]


def test_a_json_line_is_one_event_with_the_text_in_it() -> None:
    lines = logged("json", TEXTS)
    assert len(lines) == _LINES_EACH * len(TEXTS)
    for number, line in enumerate(lines):
        assert not OBEYED.search(line), line
        document = json.loads(line)
        assert document["process"] == "gateway"
        text = TEXTS[number // _LINES_EACH]
        match number % _LINES_EACH:
            case 0:
                assert document["value"] == text
            case 1:
                assert document["listed"] == [text]
            case 3:
                assert document["event"] == text
            case 4:
                assert document["event"] == f"of a library: {text}"


def test_a_console_line_begins_with_a_time_or_the_bar_of_a_traceback() -> None:
    lines = logged("console", TEXTS)
    begin = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \[(info|warning|error) +\] |  \| ")
    events = [line for line in lines if not line.startswith("  | ")]
    assert len(events) == _LINES_EACH * len(TEXTS)
    for line in lines:
        assert begin.match(line), line
        assert not OBEYED.search(line), line


def test_a_line_that_somebody_else_logged_is_shown_harmless() -> None:
    for text in TEXTS:
        assert not OBEYED.search(as_text(text).replace("\n", ""))
    assert as_text('{"event": "ü [x]"}\tend') == '{"event": "ü [x]"}      end'


def shown(renderable: object) -> str:
    console = Console(width=400, force_terminal=True, color_system=None, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def hostile(message_class: type, text: str) -> object:
    """A message whose every string, at any depth, is `text`."""

    def fill(message: object, depth: int) -> object:
        for field in message.DESCRIPTOR.fields:  # type: ignore[attr-defined]
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                continue
            if field.message_type is not None:
                if depth and field.message_type.full_name.startswith("chaukas."):
                    part = getattr(message, field.name)
                    if field.is_repeated:
                        fill(part.add(), depth - 1)
                    elif field.containing_oneof is None:
                        part.SetInParent()
                        fill(part, depth - 1)
            elif field.type == field.TYPE_STRING:
                if field.is_repeated:
                    getattr(message, field.name).append(text)
                elif field.containing_oneof is None:
                    setattr(message, field.name, text)
        return message

    return fill(message_class(), 2)


_CONTENTS = [field.name for field in pb.Event.DESCRIPTOR.oneofs_by_name["content"].fields]


@pytest.mark.parametrize("text", [text for text in HOSTILE_TEXTS if OBEYED.search(text) or "[" in text])
def test_a_terminal_obeys_nothing_in_what_commands_show(text: str) -> None:
    events = []
    for kind in _CONTENTS:
        event: pb.Event = hostile(pb.Event, text)
        part = getattr(event, kind)
        part.SetInParent()
        if kind == "state_update":
            part.update({text or "x": text})
        else:
            part.CopyFrom(hostile(type(part), text))
        event.metadata.update({"message": text})
        event.type = pb.EVENT_TYPE_MCP_CALL_END
        events.append(event)
    views = [
        event_table(events),
        session_view(build(events)),
        handoff_table([hostile(facts_pb2.HandoffFact, text)]),  # type: ignore[list-item]
        call_table([hostile(facts_pb2.McpCallFact, text)]),  # type: ignore[list-item]
        edge_table([hostile(insights_pb2.HandoffEdge, text)]),  # type: ignore[list-item]
        server_table([hostile(insights_pb2.McpServerStats, text)]),  # type: ignore[list-item]
        letter_table([_Letter(text)], {text: 1}),
    ]
    for view in views:
        assert not OBEYED.search(shown(view)), (text, shown(view))
    for event in events:
        assert not OBEYED.search(json_line(event))
        assert "\n" not in json_line(event)


class _Letter:
    """A letter in which everything that can be text is."""

    first_seen_ns, partition, offset = 0, 1, 2

    def __init__(self, text: str) -> None:
        self.dead_letter_id = self.stage = self.reason = self.tenant_id = self.topic = self.message = text


@given(st.lists(any_message(pb.Event), max_size=3))
def test_any_event_can_be_shown(events: list[pb.Event]) -> None:
    for view in (event_table(events), session_view(build(events))):
        assert not OBEYED.search(shown(view))
