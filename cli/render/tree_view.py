"""A session tree as text: names, durations, and where in the session's time each step lies."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.table import Table
from rich.text import Text

from cli.render import marks
from cli.render.tables import cell
from cli.render.text import clean, duration, nanoseconds, plural
from cli.render.tree import Node, SessionTree

#: Columns of the time line.
LINE_COLUMNS = 20

#: Wider, and the eye loses the way from the name to the duration.
MAX_COLUMNS = 120

_STYLES = {
    "session": "bold",
    "agent": "bold cyan",
    "agent handoff": "magenta",
    "model invocation": "blue",
    "tool call": "green",
    "mcp call": "yellow",
    "error": "red",
    "retry": "red",
}
#: Shorter words for the families with long names.
_WORDS = {
    "model invocation": "model",
    "tool call": "tool",
    "mcp call": "mcp",
    "agent handoff": "hand-off",
    "input received": "input",
    "output emitted": "output",
    "policy decision": "policy",
    "state update": "state",
    "data access": "data",
}


def session_view(tree: SessionTree) -> RenderableType:
    """Headline and tree of one session; as wide as the console, within reason."""
    line = Text("session ", "bold")
    line.append(clean(tree.session_id) or "(none)")
    line.append(f" · {plural(len(tree.events), 'event')}", "dim")
    return Group(line, Text(), Constrain(tree_table(tree), MAX_COLUMNS))


def tree_table(tree: SessionTree) -> Table:
    """One line per node: branch and name, status, duration, time line."""
    rows = Table.grid(padding=(0, 1, 0, 0), pad_edge=False, expand=True)
    rows.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    rows.add_column(no_wrap=True, width=1)
    rows.add_column(no_wrap=True, justify="right", min_width=8)
    rows.add_column(no_wrap=True, width=LINE_COLUMNS)
    window = _window(tree)
    for node, depth, follows in tree.walk():
        rows.add_row(_label(node, depth, follows), _mark(node), _duration(node), _time_line(node, window))
    return rows


def _label(node: Node, depth: int, follows: Sequence[bool]) -> Text:
    label = Text()
    for ancestor_follows in follows[1:-1]:
        label.append("│  " if ancestor_follows else "   ", "dim")
    if depth:
        label.append("├─ " if follows[-1] else "└─ ", "dim")
    label.append(_WORDS.get(node.kind, node.kind), _STYLES.get(node.kind, ""))
    if node.kind == "agent":
        label.append(" ").append_text(cell(node.actor, "bold"))
    text = node.text
    if text:
        label.append(" ").append_text(cell(text, "" if node.kind in _STYLES else "dim"))
    return label


def _mark(node: Node) -> Text:
    return marks.OPEN if node.is_open else marks.of_status(node.facts.effective_status)


def _duration(node: Node) -> Text:
    if node.is_open:
        return Text("no end", "yellow")
    return Text(duration(node.duration_ms), "bold" if node.kind in ("session", "agent") else "")


def _window(tree: SessionTree) -> tuple[int, int]:
    """First and last moment of the session, Unix nanoseconds."""
    times = [nanoseconds(event.timestamp) for event in tree.events if event.HasField("timestamp")]
    return (min(times), max(times)) if times else (0, 0)


def _time_line(node: Node, window: tuple[int, int]) -> Text:
    """A bar from START to END (dashed to the right edge without an END), or a dot for a single event."""
    began, ended = window
    if ended <= began or not node.first.HasField("timestamp"):
        return Text()

    def column(at: int) -> int:
        return min(LINE_COLUMNS - 1, max(0, (at - began) * LINE_COLUMNS // (ended - began)))

    style = "red" if _mark(node) is marks.FAILED else _STYLES.get(node.kind, "dim").removeprefix("bold ")
    left = column(nanoseconds((node.start or node.first).timestamp))
    if node.is_open:
        return Text(" " * left).append("┅" * (LINE_COLUMNS - left), "yellow")
    if node.start is None or node.end is None or not node.end.HasField("timestamp"):
        return Text(" " * left).append("•", style)
    right = max(left, column(nanoseconds(node.end.timestamp)))
    return Text(" " * left).append("━" * (right - left + 1), "" if style == "bold" else style)
