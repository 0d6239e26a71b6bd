"""Reading events and queries from JSON (writing is in ``spec_json_out``).

Read are the spec's openapi dialect (snake_case names, enums as ``AGENT_START``, ``content`` with a ``kind``), protobuf's
canonical JSON (camelCase too, enums as ``EVENT_TYPE_AGENT_START`` or numbers, ``message: {…}``), and the lines of the SDK's
file mode (a timestamp without a zone is UTC). They may be mixed.

JSON carries no unknown fields into protobuf, so an unknown field is an error that names it: keeping it silently is impossible,
dropping it silently is not wanted. ``null`` means absent. :func:`event_from_json` and its kin raise
:class:`contracts.errors.InvalidInput`, whatever the input is.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, NoReturn, TypeVar

from chaukas.spec.common.v1.events_pb2 import Event
from google.protobuf import any_pb2, json_format, struct_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from contracts.errors import InvalidInput
from contracts.spec_json_out import EPOCH, KINDS, STATE, event_to_json, message_to_json
from contracts.validation import MAX_TIMESTAMP_SECONDS, MIN_TIMESTAMP_SECONDS

__all__ = ["MAX_NESTING", "event_from_json", "event_to_json", "message_from_json", "message_to_json", "parse_json"]

#: Levels of objects and lists inside a free-form field (protobuf's limit of 100 messages allows no more).
MAX_NESTING = 30

_F = FieldDescriptor
_INTEGERS = {
    **dict.fromkeys((_F.TYPE_INT32, _F.TYPE_SINT32, _F.TYPE_SFIXED32), (-(2**31), 2**31 - 1)),
    **dict.fromkeys((_F.TYPE_INT64, _F.TYPE_SINT64, _F.TYPE_SFIXED64), (-(2**63), 2**63 - 1)),
    **dict.fromkeys((_F.TYPE_UINT32, _F.TYPE_FIXED32), (0, 2**32 - 1)),
    **dict.fromkeys((_F.TYPE_UINT64, _F.TYPE_FIXED64), (0, 2**64 - 1)),
}
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)?", re.ASCII
)
_SECOND = dt.timedelta(seconds=1)

M = TypeVar("M", bound=Message)


def parse_json(body: bytes | str) -> Any:
    """JSON text as Python values. Raises InvalidInput for anything else, nesting without bound and NaN included."""
    try:
        text = body if isinstance(body, str) else body.decode()
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InvalidInput.of("", "the body is not JSON in UTF-8") from None


def event_from_json(document: Any, path: str = "event") -> Event:
    """One event; `path` is how errors name it. Raises InvalidInput."""
    return message_from_json(document, Event, path)


def message_from_json(document: Any, kind: type[M], path: str = "") -> M:
    """A message of the spec; `path` is how errors name it. Raises InvalidInput."""
    message = kind()
    _fill(message, document, path)
    return message


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _bad(path: str, reason: str) -> NoReturn:
    raise InvalidInput.of(path, reason)


def _join(path: str, name: str) -> str:
    shown = name if len(name) <= 64 else name[:64] + "…"
    return f"{path}.{shown}" if path else shown


@cache
def _field_table(descriptor: Descriptor) -> Mapping[str, FieldDescriptor]:
    return {name: field for field in descriptor.fields for name in (field.json_name, field.name)}


@cache
def _enum_table(descriptor: EnumDescriptor) -> Mapping[str, int]:
    """Full names, and names without the enum's prefix."""
    prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {name: value.number for value in descriptor.values for name in (value.name, value.name.removeprefix(prefix))}


def _fill(message: Message, document: Any, path: str) -> None:
    if not isinstance(document, dict):
        _bad(path, "must be an object")
    table = _field_table(message.DESCRIPTOR)
    seen: set[str] = set()
    for key, value in document.items():
        here = _join(path, key)
        if value is None:
            if key not in table and key != "content":
                _bad(here, "is not a field of the spec")
            continue
        if key == "content" and isinstance(message, Event):
            field, value = _content(value, here)
        else:
            known = table.get(key)
            if known is None:
                _bad(here, "is not a field of the spec")
            field = known
        group = field.containing_oneof.name if field.containing_oneof is not None else field.name
        if group in seen:
            _bad(here, "is given twice")
        seen.add(group)
        _set(message, field, value, here)


def _content(value: Any, path: str) -> tuple[FieldDescriptor, Any]:
    """The event's field that a ``content`` stands for, and what goes into it."""
    if not isinstance(value, dict):
        _bad(path, "must be an object")
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        _bad(f"{path}.kind", f"must be one of {', '.join(KINDS)}")
    body = {key: item for key, item in value.items() if key != "kind"}
    if kind == "state_update":
        for key in body:
            if key != STATE:
                _bad(_join(path, key), "is not a field of the spec")
        body = body.get(STATE) or {}
    return Event.DESCRIPTOR.fields_by_name[KINDS[kind]], body


def _set(message: Message, field: FieldDescriptor, value: Any, path: str) -> None:
    if field.is_repeated:
        if not isinstance(value, list):
            _bad(path, "must be a list")
        target = getattr(message, field.name)
        for index, item in enumerate(value):
            here = f"{path}[{index}]"
            if field.message_type is not None:
                _fill_message(target.add(), item, here)
            else:
                target.append(_scalar(field, item, here))
    elif field.message_type is not None:
        target = getattr(message, field.name)
        target.SetInParent()
        _fill_message(target, value, path)
    else:
        setattr(message, field.name, _scalar(field, value, path))


def _fill_message(message: Any, value: Any, path: str) -> None:
    match message.DESCRIPTOR.full_name:
        case "google.protobuf.Timestamp":
            _fill_timestamp(message, value, path)
        case "google.protobuf.Struct":
            _fill_struct(message, value, path, MAX_NESTING)
        case "google.protobuf.Any":
            _fill_any(message, value, path)
        case _:
            _fill(message, value, path)


def _scalar(field: Any, value: Any, path: str) -> Any:
    if field.type == _F.TYPE_STRING:
        return _text(value, path)
    if field.type == _F.TYPE_BOOL:
        return value if isinstance(value, bool) else _bad(path, "must be true or false")
    if field.type == _F.TYPE_ENUM:
        return _enum(field.enum_type, value, path)
    if field.type in (_F.TYPE_DOUBLE, _F.TYPE_FLOAT):
        return _double(value, path)
    return _integer(value, *_INTEGERS[field.type], path)


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        _bad(path, "must be a string")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        _bad(path, "holds half of a surrogate pair")
    return value


def _enum(descriptor: EnumDescriptor, value: Any, path: str) -> int:
    if isinstance(value, str):
        number = _enum_table(descriptor).get(value)
        return _bad(path, f"is not a name of {descriptor.name}") if number is None else number
    return _integer(value, -(2**31), 2**31 - 1, path)


def _integer(value: Any, least: int, most: int, path: str) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,20}", value, re.ASCII):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        _bad(path, f"must be an integer from {least} to {most}")
    return value


def _double(value: Any, path: str) -> float:
    if value in ("NaN", "Infinity", "-Infinity") and isinstance(value, str):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        _bad(path, "must be a number")
    try:
        return float(value)
    except OverflowError:
        return _bad(path, "is a number out of range")


def _fill_timestamp(message: timestamp_pb2.Timestamp, value: Any, path: str) -> None:
    match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        _bad(path, "must be an RFC 3339 time such as 2026-01-31T12:00:00.123Z")
    *parts, fraction, zone = match.groups()
    try:
        moment = dt.datetime(*map(int, parts), tzinfo=dt.UTC)  # type: ignore[arg-type,misc]
    except ValueError:
        _bad(path, "is not a time of the calendar")
    seconds = (moment - EPOCH) // _SECOND
    if zone and zone not in "Zz":
        offset = (int(zone[1:3]) * 60 + int(zone[4:6])) * 60
        seconds += offset if zone[0] == "-" else -offset
    if not MIN_TIMESTAMP_SECONDS <= seconds <= MAX_TIMESTAMP_SECONDS:
        _bad(path, "must be between 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999999Z")
    message.seconds = seconds
    message.nanos = int((fraction or "0").ljust(9, "0"))


def _fill_struct(message: struct_pb2.Struct, value: Any, path: str, room: int) -> None:
    if not isinstance(value, dict):
        _bad(path, "must be an object")
    for key, item in value.items():
        here = _join(path, key)
        _fill_value(message.fields[_text(key, here)], item, here, room)


def _fill_value(target: struct_pb2.Value, value: Any, path: str, room: int) -> None:
    if isinstance(value, dict | list) and room == 0:
        _bad(path, f"is nested deeper than {MAX_NESTING} levels")
    if value is None:
        target.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, str):
        target.string_value = _text(value, path)
    elif isinstance(value, dict):
        target.struct_value.SetInParent()
        _fill_struct(target.struct_value, value, path, room - 1)
    elif isinstance(value, list):
        target.list_value.SetInParent()
        for index, item in enumerate(value):
            _fill_value(target.list_value.values.add(), item, f"{path}[{index}]", room - 1)
    else:
        target.number_value = _double(value, path)


def _fill_any(message: any_pb2.Any, value: Any, path: str) -> None:
    """Canonical JSON of a known type, or ``{"@type": …, "value": base64}`` for one that is not known here."""
    if not isinstance(value, dict) or not isinstance(value.get("@type"), str):
        _bad(path, "must be an object with an @type")
    try:
        json_format.ParseDict(value, message, max_recursion_depth=MAX_NESTING)
        return
    except (json_format.ParseError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        message.Clear()
    try:
        if set(value) != {"@type", "value"}:
            raise ValueError
        message.value = base64.b64decode(value["value"], validate=True)
        message.type_url = _text(value["@type"], path)
    except (ValueError, TypeError, binascii.Error):
        _bad(path, "is neither a message of a known @type nor an @type with a base64 value")
