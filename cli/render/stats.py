"""Event statistics: totals, and a bar per type."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cli.render.tables import cell, table
from cli.render.text import count, duration, percent, plural

BAR_COLUMNS = 30


def headline(answer: Any) -> Text:
    """The totals of a ``GetEventStatsResponse`` in one line."""
    line = Text(plural(answer.total_events, "event"), "bold")
    line.append(f" in {plural(answer.total_sessions, 'session')}", "not bold")
    if answer.total_sessions:
        line.append(f", {duration(answer.avg_session_duration_ms)} long on average", "not bold")
    return line


def stats_view(answer: Any) -> RenderableType:
    """The totals and one row per event type, most frequent first."""
    if not answer.events_by_type:
        return headline(answer)
    rows = table("type", ">events", ">share", "")
    by_count = sorted(answer.events_by_type.items(), key=lambda entry: (-entry[1], entry[0]))
    most = max(1, by_count[0][1])
    for name, number in by_count:
        bar = "━" * max(1, round(BAR_COLUMNS * number / most)) if number else ""
        share = percent(number, answer.total_events)
        rows.add_row(cell(name.removeprefix("EVENT_TYPE_")), count(number), share, Text(bar, "cyan"))
    return Group(headline(answer), Text(), rows)
