"""One sign and one style per status, the same everywhere. (For terminals without Unicode see ``console.ASCII``.)"""

from __future__ import annotations

from chaukas.spec.common.v1 import events_pb2
from rich.text import Text

from contracts.v1 import facts_pb2

OK = Text("✔", "green")
FAILED = Text("✖", "bold red")
#: Something that began and has no end.
OPEN = Text("◌", "yellow")
#: A hand-off back to an agent that already had the work.
LOOP = Text("↺", "magenta")
UNKNOWN = Text("?", "yellow")
NONE = Text("")

BY_STATUS = {
    events_pb2.EVENT_STATUS_STARTED: Text("▸", "cyan"),
    events_pb2.EVENT_STATUS_IN_PROGRESS: Text("◐", "yellow"),
    events_pb2.EVENT_STATUS_COMPLETED: OK,
    events_pb2.EVENT_STATUS_FAILED: FAILED,
    events_pb2.EVENT_STATUS_CANCELLED: Text("⊘", "yellow"),
}

BY_MCP_STATUS = {
    facts_pb2.MCP_CALL_STATUS_OPEN: OPEN,
    facts_pb2.MCP_CALL_STATUS_OK: OK,
    facts_pb2.MCP_CALL_STATUS_ERROR: FAILED,
    facts_pb2.MCP_CALL_STATUS_ORPHAN_END: UNKNOWN,
}


def of_status(status: int) -> Text:
    """The sign of an event status; nothing for UNSPECIFIED, a question mark for a number without a name."""
    return NONE if status == events_pb2.EVENT_STATUS_UNSPECIFIED else BY_STATUS.get(status, UNKNOWN)
