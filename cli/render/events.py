"""Events as a table."""

from __future__ import annotations

from collections.abc import Sequence

from chaukas.spec.common.v1 import events_pb2
from rich.table import Table

from cli.render import marks, names, server_facts
from cli.render.summary import summary
from cli.render.tables import cell, table
from cli.render.text import duration, moments

#: Characters of a session id in the table: the tail, because ids made from time share their beginning.
SESSION_TAIL = 12


def event_table(events: Sequence[events_pb2.Event]) -> Table:
    """One row per event, in the given order."""
    heading, times = moments([event.timestamp for event in events])
    rows = table(heading, "session", "*agent", "type", "", ">duration", "*what")
    for event, time in zip(events, times, strict=True):
        facts = server_facts.read(event)
        rows.add_row(
            time,
            cell(tail(event.session_id, SESSION_TAIL), "dim"),
            cell(event.agent_name or event.agent_id),
            cell(names.short(names.EventType, event.type)),
            marks.of_status(facts.effective_status),
            duration(facts.duration_ms),
            cell(summary(event, facts)),
        )
    return rows


def tail(text: str, length: int) -> str:
    return text if len(text) <= length else f"…{text[-(length - 1) :]}"
