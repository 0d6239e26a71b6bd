from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from chaukas.spec.common.v1 import events_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cli.render import console
from cli.render.tree import MAX_DEPTH, Node, build
from cli.render.tree_view import LINE_COLUMNS, session_view
from tests.support.events import START_NS, event, seeded_sessions

TYPES = [
    pb.EVENT_TYPE_SESSION_START,
    pb.EVENT_TYPE_SESSION_END,
    pb.EVENT_TYPE_AGENT_START,
    pb.EVENT_TYPE_AGENT_END,
    pb.EVENT_TYPE_MCP_CALL_START,
    pb.EVENT_TYPE_MCP_CALL_END,
    pb.EVENT_TYPE_ERROR,
    pb.EVENT_TYPE_UNSPECIFIED,
    999,
]
SPANS = ["", "a", "b", "c", "d", "e"]
EVENTS = st.lists(
    st.builds(
        lambda kind, span, parent, at: event(
            kind, span_id=span, parent_span_id=parent, at_ns=None if at is None else START_NS + at
        ),
        st.sampled_from(TYPES),
        st.sampled_from(SPANS),
        st.sampled_from(SPANS),
        st.one_of(st.none(), st.integers(0, 10**9)),
    ),
    max_size=25,
)


def events_of(node: Node) -> list[Any]:
    return [made for made in (node.start, node.end) if made is not None] or [node.first]


def printed(events: Sequence[Any], width: int) -> str:
    file = io.StringIO()
    Console(width=width, file=file).print(session_view(build(events)))
    return file.getvalue()


@given(EVENTS)
def test_every_event_is_in_the_tree_once(events: list[Any]) -> None:
    shown = [made.event_id for node, _, _ in build(events).walk() for made in events_of(node)]
    assert sorted(shown) == sorted(made.event_id for made in events)


@given(EVENTS)
def test_any_session_can_be_shown(events: list[Any]) -> None:
    lines = printed(events, 100).splitlines()
    assert len(lines) == 2 + len(list(build(events).walk()))
    assert max(map(len, lines)) <= 100


def test_a_chain_deeper_than_anyone_reads_is_flattened() -> None:
    events = [event(pb.EVENT_TYPE_AGENT_START, span_id=f"s{n}", parent_span_id=f"s{n - 1}") for n in range(500)]
    nodes = list(build(events).walk())
    assert len(nodes) == 500
    assert max(depth for _, depth, _ in nodes) == MAX_DEPTH
    assert [node.first.span_id for node, _, _ in nodes] == [f"s{n}" for n in range(500)]


def test_a_circle_of_parents_is_opened_at_its_first_event() -> None:
    events = [event(pb.EVENT_TYPE_AGENT_START, span_id=f"s{n}", parent_span_id=f"s{(n + 1) % 60}") for n in range(60)]
    tree = build(events)
    assert [node.first.span_id for node in tree.nodes] == ["s0"]
    assert len(list(tree.walk())) == 60


def test_what_stands_beside_the_session_belongs_into_it() -> None:
    events = [
        event(pb.EVENT_TYPE_INPUT_RECEIVED, span_id="i"),
        event(pb.EVENT_TYPE_SESSION_START, span_id="s"),
        event(pb.EVENT_TYPE_AGENT_START, span_id="a", parent_span_id="s"),
        event(pb.EVENT_TYPE_ERROR, span_id="x", parent_span_id="gone"),
        event(pb.EVENT_TYPE_SESSION_END, span_id="s"),
    ]
    (session,) = build(events).nodes
    assert [child.kind for child in session.children] == ["input received", "agent", "error"]
    assert session.children[1].is_open
    assert not session.is_open


def test_times_are_the_server_s_or_measured_here() -> None:
    start = event(pb.EVENT_TYPE_TOOL_CALL_START, span_id="t", tool_call=pb.ToolCall(name="look"))
    end = event(pb.EVENT_TYPE_TOOL_CALL_END, span_id="t", at_ns=START_NS + 12_500_000)
    (node,) = build([start, end]).nodes
    assert node.duration_ms == 12.5
    assert node.text == "look"


def test_the_time_line() -> None:
    ms = 1_000_000
    events = [
        event(pb.EVENT_TYPE_SESSION_START, span_id="s"),
        event(pb.EVENT_TYPE_MCP_CALL_START, span_id="m", at_ns=START_NS + 50 * ms),
        event(pb.EVENT_TYPE_ERROR, span_id="e", at_ns=START_NS + 75 * ms, severity=pb.SEVERITY_ERROR),
        event(pb.EVENT_TYPE_SESSION_END, span_id="s", at_ns=START_NS + 100 * ms),
    ]
    lines = [line[-LINE_COLUMNS:] for line in printed(events, 80).splitlines()[2:]]
    assert lines == [
        "━" * LINE_COLUMNS,
        " " * (LINE_COLUMNS // 2) + "┅" * (LINE_COLUMNS // 2),
        (" " * (LINE_COLUMNS * 3 // 4) + "•").ljust(LINE_COLUMNS),
    ]


def test_a_terminal_without_unicode_gets_one_ascii_sign_for_each_of_ours() -> None:
    (session,) = seeded_sessions(3, 1, tenant="t", project="p")
    text = printed(session, 100)
    plain = text.encode("ascii", console.HANDLER).decode()
    assert len(plain) == len(text)
    assert plain.count("?") - text.count("?") == text.count("é")
