"""Writing events and answers as JSON: the spec's openapi dialect.

snake_case names, enums without their prefix, ``content`` with a ``kind``. Nothing here raises for a message that was parsed: what
JSON has no form for (a time outside the calendar, an extension of an unknown type) is shown as its parts or as base64.
"""

from __future__ import annotations

import base64
import datetime as dt
import math
from typing import Any

from chaukas.spec.common.v1.events_pb2 import Event
from google.protobuf import any_pb2, json_format, struct_pb2, timestamp_pb2
from google.protobuf.message import Message

from contracts.validation import MAX_TIMESTAMP_SECONDS, MIN_TIMESTAMP_SECONDS

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
#: The openapi's discriminator of ``content``, and the event's field it stands for.
KINDS = {
    "message": "message",
    "tool_call": "tool_call",
    "tool_response": "tool_response",
    "llm_invocation": "llm_invocation",
    "policy_decision": "policy",
    "data_access": "data_access",
    "state_update": "state_update",
    "error_info": "error",
    "agent_handoff": "agent_handoff",
    "mcp_call": "mcp_call",
}
#: Where the state is in a content of kind ``state_update`` (which the spec's openapi does not have).
STATE = "state"
_KIND_OF_FIELD = {field: kind for kind, field in KINDS.items()}


def event_to_json(event: Event) -> dict[str, Any]:
    """The openapi dialect: fields that are set, ``content`` with its kind. Never raises for an event that was parsed."""
    return message_to_json(event)


def message_to_json(message: Message, *, defaults: bool = False) -> dict[str, Any]:
    """A message of the spec; `defaults` also writes unset fields that have no presence. 64-bit integers are numbers."""
    out: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if not field.has_presence and not value and not defaults:
            continue
        if field.containing_oneof is not None and field.name in _KIND_OF_FIELD and isinstance(message, Event):
            kind = _KIND_OF_FIELD[field.name]
            written = _write(field, value)
            out["content"] = {"kind": kind, **({STATE: written} if kind == "state_update" else written)}
        elif field.is_repeated:
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                out[field.name] = {str(key): _write_scalar(item) for key, item in sorted(value.items())}
            else:
                out[field.name] = [_write(field, item) for item in value]
        else:
            out[field.name] = _write(field, value)
    return out


def _write(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        match field.message_type.full_name:
            case "google.protobuf.Timestamp":
                return _write_timestamp(value)
            case "google.protobuf.Struct":
                return _write_struct(value)
            case "google.protobuf.Any":
                return _write_any(value)
            case _:
                return message_to_json(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
        return value if known is None else known.name.removeprefix(prefix)
    return _write_scalar(value)


def _write_scalar(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def _write_timestamp(value: timestamp_pb2.Timestamp) -> Any:
    if not MIN_TIMESTAMP_SECONDS <= value.seconds <= MAX_TIMESTAMP_SECONDS or not 0 <= value.nanos < 10**9:
        return {"seconds": value.seconds, "nanos": value.nanos}  # no time of the calendar: shown as it is
    moment = (EPOCH + dt.timedelta(seconds=value.seconds)).replace(tzinfo=None).isoformat()
    fraction = f"{value.nanos:09d}"
    while fraction.endswith("000"):
        fraction = fraction[:-3]
    return f"{moment}.{fraction}Z" if fraction else f"{moment}Z"


def _write_struct(value: struct_pb2.Struct) -> dict[str, Any]:
    return {key: _write_value(value.fields[key]) for key in sorted(value.fields)}


def _write_value(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) < 2**53 else _write_scalar(number)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return _write_struct(value.struct_value)
        case "list_value":
            return [_write_value(item) for item in value.list_value.values]
        case _:
            return None


def _write_any(value: any_pb2.Any) -> dict[str, Any]:
    struct = struct_pb2.Struct()
    try:
        if value.Unpack(struct):
            return {"@type": value.type_url, "value": _write_struct(struct)}
        return dict(json_format.MessageToDict(value, preserving_proto_field_name=True))
    except Exception:  # noqa: BLE001 - json_format raises many types for bytes it cannot show; they are shown as bytes
        return {"@type": value.type_url, "value": base64.b64encode(value.value).decode()}
