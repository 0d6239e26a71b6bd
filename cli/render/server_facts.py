"""What the server knows about an event, read from the extension it appended (Struct, key ``chaukas.gateway``).

Only the last extension counts: the server appends its own after whatever the client sent, so a client's forgery of the
key stands before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from chaukas.spec.common.v1 import events_pb2
from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError

KEY = "chaukas.gateway"


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The parts of the enrichment that are shown; absent ones are None or empty."""

    effective_status: int = events_pb2.EVENT_STATUS_UNSPECIFIED
    duration_ms: float | None = None
    cost_usd: float | None = None
    #: Names that a failed END lost (`mcp_server_name`, `model`, ...).
    recovered: Mapping[str, str] = field(default_factory=dict)


def read(event: events_pb2.Event) -> ServerFacts:
    """The facts of `event`; the client's own status where the server's extension is missing or unreadable."""
    own = ServerFacts(effective_status=event.status)
    if not event.extensions:
        return own
    struct = struct_pb2.Struct()
    try:
        if not event.extensions[-1].Unpack(struct):
            return own
    except DecodeError:
        return own
    if not struct.fields[KEY].HasField("struct_value"):
        return own
    fields = struct.fields[KEY].struct_value.fields
    status = events_pb2.EventStatus.DESCRIPTOR.values_by_name.get(_text(fields, "effective_status"))
    recovered = fields["recovered"].struct_value.fields if "recovered" in fields else {}
    return ServerFacts(
        effective_status=status.number if status is not None else event.status,
        duration_ms=_number(fields, "duration_ms"),
        cost_usd=_number(fields, "cost_usd"),
        recovered={key: value.string_value for key, value in recovered.items() if value.string_value},
    )


def _text(fields: Mapping[str, struct_pb2.Value], key: str) -> str:
    return fields[key].string_value if key in fields else ""


def _number(fields: Mapping[str, struct_pb2.Value], key: str) -> float | None:
    if key not in fields or not fields[key].HasField("number_value"):
        return None
    number = fields[key].number_value
    return number if math.isfinite(number) else None
