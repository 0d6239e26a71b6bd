"""A session's events as a tree. Pure: events in, nodes out; any input gives a tree with every event in it once.

START and END of one family with the same span become one node. A node hangs below the node of its `parent_span_id`; where
that is unknown, is the node itself, or would close a circle, it hangs below the session. Children are in the order of
their first event's time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from chaukas.spec.common.v1 import events_pb2

from cli.render import names, server_facts
from cli.render.server_facts import ServerFacts
from cli.render.summary import kind_of, summary
from cli.render.text import nanoseconds

#: Deeper nodes hang at this depth: nobody reads further in, and hostile input may nest without end.
MAX_DEPTH = 24


@dataclass(slots=True, eq=False)
class Node:
    """A span (START, END or both) or a single event."""

    kind: str
    first: events_pb2.Event
    start: events_pb2.Event | None = None
    end: events_pb2.Event | None = None
    children: list[Node] = field(default_factory=list)

    @property
    def is_span(self) -> bool:
        return self.start is not None or self.end is not None

    @property
    def is_open(self) -> bool:
        """Began, and no END came."""
        return self.start is not None and self.end is None

    @property
    def last(self) -> events_pb2.Event:
        return self.end or self.first

    @property
    def facts(self) -> ServerFacts:
        return server_facts.read(self.last)

    @property
    def duration_ms(self) -> float | None:
        """What the server measured; else END minus START where both are here."""
        measured = self.facts.duration_ms
        if measured is None and self.start is not None and self.end is not None:
            times = (self.start, self.end)
            if all(event.HasField("timestamp") for event in times):
                began, ended = (nanoseconds(event.timestamp) for event in times)
                return (ended - began) / 1_000_000
        return measured

    @property
    def actor(self) -> str:
        return str(self.first.agent_name or self.first.agent_id)

    @property
    def text(self) -> str:
        """What it was about: the END's summary, with the START's name where a failed END lost its own."""
        ended = summary(self.last, self.facts)
        if self.start is None or self.end is None:
            return ended
        began = summary(self.start, ServerFacts())
        if self.kind == "tool call" or (self.end.HasField("error") and began not in ended):
            return " · ".join(part for part in (began, ended) if part)
        return ended or began


@dataclass(slots=True)
class SessionTree:
    session_id: str
    nodes: list[Node]
    events: Sequence[events_pb2.Event]

    def walk(self) -> Iterator[tuple[Node, int, tuple[bool, ...]]]:
        """Every node before its children, with its depth and, for itself and each ancestor, whether a sibling follows."""
        stack: list[tuple[Node, int, tuple[bool, ...]]] = [
            (node, 0, (index < len(self.nodes) - 1,)) for index, node in reversed(list(enumerate(self.nodes)))
        ]
        while stack:
            node, depth, follows = stack.pop()
            yield node, depth, follows
            last = len(node.children) - 1
            for index, child in reversed(list(enumerate(node.children))):
                stack.append((child, depth + 1, (*follows, index < last)))


def build(events: Sequence[events_pb2.Event]) -> SessionTree:
    """The tree of one session's events, which are in the order of their time."""
    nodes = _nodes(events)
    roots = _hang(nodes, _parents(nodes))
    session = next((node for node in roots if node.kind == "session"), None)
    if session is not None and len(roots) > 1:
        # What stands beside the session (its first input comes before SESSION_START) belongs into it.
        position = {id(node): index for index, node in enumerate(nodes)}
        session.children = sorted(
            [*session.children, *(node for node in roots if node is not session)], key=lambda node: position[id(node)]
        )
        roots = [session]
    for root in roots:
        _flatten(root)
    return SessionTree(events[0].session_id if events else "", roots, events)


def _nodes(events: Iterable[events_pb2.Event]) -> list[Node]:
    """One node per span or single event, in the order of first events."""
    nodes: list[Node] = []
    spans: dict[tuple[str, str], Node] = {}
    for event in events:
        kind, name = kind_of(event), names.short(names.EventType, event.type)
        is_start, is_end = name.endswith("_START"), name.endswith("_END")
        pairs = bool(event.span_id) and (is_start or is_end)
        node = spans.get((kind, event.span_id)) if pairs else None
        if node is None or (node.start if is_start else node.end) is not None:
            node = Node(kind, event)
            nodes.append(node)
            if pairs:
                spans[kind, event.span_id] = node
        if is_start:
            node.start = event
        elif is_end:
            node.end = event
    return nodes


def _parents(nodes: Sequence[Node]) -> dict[int, Node | None]:
    """The node each node (by ``id``) hangs below, without circles; None: below the session."""
    by_span: dict[str, Node] = {}
    for node in nodes:
        known = by_span.get(node.first.span_id)
        if known is None or (node.is_span and not known.is_span):
            by_span[node.first.span_id] = node
    parents: dict[int, Node | None] = {}
    for node in nodes:
        parent = by_span.get(node.first.parent_span_id) if node.first.parent_span_id else None
        parents[id(node)] = None if parent is node else parent
    checked: set[int] = set()
    for node in nodes:
        path: set[int] = set()
        here: Node | None = node
        while here is not None and id(here) not in checked:
            if id(here) in path:
                parents[id(here)] = None
                break
            path.add(id(here))
            here = parents[id(here)]
        checked |= path
    return parents


def _hang(nodes: Sequence[Node], parents: dict[int, Node | None]) -> list[Node]:
    """Put every node below its parent; those without one are returned."""
    roots: list[Node] = []
    for node in nodes:
        parent = parents[id(node)]
        (roots if parent is None else parent.children).append(node)
    return roots


def _flatten(root: Node) -> None:
    """Hang everything deeper than `MAX_DEPTH` below its ancestor at that depth."""
    stack = [(root, 0)]
    while stack:
        node, depth = stack.pop()
        if depth < MAX_DEPTH - 1:
            stack += [(child, depth + 1) for child in node.children]
            continue
        deeper = list(reversed(node.children))
        node.children = []
        while deeper:
            below = deeper.pop()
            node.children.append(below)
            deeper += reversed(below.children)
            below.children = []
