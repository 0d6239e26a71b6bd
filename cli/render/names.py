"""Enum values by the names people use: short, without the spec's prefixes; unknown numbers keep their number."""

from __future__ import annotations

import difflib
from typing import Any

from chaukas.spec.common.v1 import events_pb2

from contracts.v1 import facts_pb2

#: What every value of an enum starts with.
PREFIXES = {
    "EventType": "EVENT_TYPE_",
    "EventStatus": "EVENT_STATUS_",
    "Severity": "SEVERITY_",
    "Author": "AUTHOR_",
    "McpCallStatus": "MCP_CALL_STATUS_",
}


def prefix(enum: Any) -> str:
    return PREFIXES[enum.DESCRIPTOR.name]


def short(enum: Any, number: int) -> str:
    """``MCP_CALL_END`` for EVENT_TYPE_MCP_CALL_END; empty for UNSPECIFIED; the number for one without a name."""
    value = enum.DESCRIPTOR.values_by_number.get(number)
    if value is None:
        return str(number)
    name: str = value.name.removeprefix(prefix(enum))
    return "" if name == "UNSPECIFIED" else name


def choices(enum: Any) -> list[str]:
    """The short names in the spec's order, UNSPECIFIED left out."""
    return [name for number in enum.values() if (name := short(enum, number))]


def parse(enum: Any, text: str) -> int:
    """The number of a value: its short or full name in any case, ``-`` for ``_``, or a number (also one this version
    has no name for). Raises ``ValueError`` with what is allowed."""
    name = text.strip().upper().replace("-", "_")
    if name.isdecimal() and name.isascii() and int(name) < 2**31:
        return int(name)
    for candidate in (name, prefix(enum) + name):
        value = enum.DESCRIPTOR.values_by_name.get(candidate)
        if value is not None:
            return int(value.number)
    allowed = choices(enum)
    close = difflib.get_close_matches(name.removeprefix(prefix(enum)), allowed, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise ValueError(f"{text!r} is none of {', '.join(allowed)}.{hint}")


EventType = events_pb2.EventType
EventStatus = events_pb2.EventStatus
Severity = events_pb2.Severity
McpCallStatus = facts_pb2.McpCallStatus
