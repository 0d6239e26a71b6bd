"""Event types: which open a span, which close it, and the status that follows from type and error."""

from __future__ import annotations

from typing import Any

from chaukas.spec.common.v1 import events_pb2 as pb

from processors.intake import Incoming

#: Each END type and the START type it pairs with. A family is named by its START's number.
START_OF_END: dict[int, int] = {
    pb.EVENT_TYPE_SESSION_END: pb.EVENT_TYPE_SESSION_START,
    pb.EVENT_TYPE_AGENT_END: pb.EVENT_TYPE_AGENT_START,
    pb.EVENT_TYPE_MODEL_INVOCATION_END: pb.EVENT_TYPE_MODEL_INVOCATION_START,
    pb.EVENT_TYPE_TOOL_CALL_END: pb.EVENT_TYPE_TOOL_CALL_START,
    pb.EVENT_TYPE_MCP_CALL_END: pb.EVENT_TYPE_MCP_CALL_START,
}
START_TYPES = frozenset(START_OF_END.values())
SPAN_TYPES = START_TYPES | START_OF_END.keys()

_STARTED = int(pb.EVENT_STATUS_STARTED)
_COMPLETED = int(pb.EVENT_STATUS_COMPLETED)
_FAILED = int(pb.EVENT_STATUS_FAILED)


def reports_failure(event: Any) -> bool:
    """The event itself says that something went wrong, whatever its status."""
    return bool(
        event.HasField("error")
        or event.severity == pb.SEVERITY_ERROR
        or (event.HasField("tool_response") and event.tool_response.error_message)
    )


def effective_status(event: Incoming) -> int:
    """The client's own status, else what type and error say: an END failed or completed, a START started, others as sent."""
    own: int = event.event.status
    if own:
        return own
    if event.type in START_OF_END:
        return _FAILED if reports_failure(event.event) else _COMPLETED
    if event.type in START_TYPES:
        return _STARTED
    return own


def status_name(number: int) -> str:
    """The enum's name; ``EVENT_STATUS_<number>`` for a number this version does not know."""
    value = pb.EventStatus.DESCRIPTOR.values_by_number.get(number)
    return value.name if value is not None else f"EVENT_STATUS_{number}"
