"""A view of ``Event`` for a parser that turns protobuf's wire form into Arrow columns: the fields a row needs, no others.

Built from the spec's own descriptor, so names, numbers and types are the spec's. Three things differ, none of them on the
wire: enums are int32 (numbers this release does not know stay numbers), a Timestamp is seconds and nanos, and a Struct,
which nests without end, is unrolled :data:`DEPTH` levels deep; what lies deeper comes as
bytes, to be parsed again by the same levels. Every arm of the oneof is
there, so that a row whose wire holds two of them is seen.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import ptars
import pyarrow as pa
from chaukas.spec.common.v1.events_pb2 import Event
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from contracts.v1 import enrichment_pb2, facts_pb2

#: Levels of a Struct that become columns; most events nest less.
DEPTH = 3

_PACKAGE = "chaukas.gateway.sink.view"
_OPTIONAL, _REPEATED = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED
_MESSAGE, _BYTES = FieldDescriptorProto.TYPE_MESSAGE, FieldDescriptorProto.TYPE_BYTES
_STRING, _INT32 = FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_INT32

#: The event's own fields that are columns under the same name.
PLAIN = (
    "session_id",
    "span_id",
    "parent_span_id",
    "trace_id",
    "type",
    "severity",
    "status",
    "author",
    "agent_id",
    "agent_name",
    "tags",
    "pii_categories",
)
#: Per arm of the oneof ``content``: the fields a row needs.
ARMS = {
    "message": ("text", "metadata"),
    "tool_call": ("name", "function_name", "arguments"),
    "tool_response": ("error_message", "output", "execution_time_ms", "http_status"),
    "llm_invocation": (
        "provider",
        "model",
        "request",
        "response",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "duration_ms",
        "finish_reason",
    ),
    "policy": ("policy_id", "outcome", "rule_ids", "rationale"),
    "data_access": ("datasource", "document_ids", "pii_categories"),
    "state_update": (),
    "error": ("error_message", "error_code"),
    "agent_handoff": ("reason", "handoff_data"),
    "mcp_call": ("server_name", "operation", "request", "response", "execution_time_ms"),
}
_OTHERS = {
    "timestamp": ("seconds", "nanos"),
    "cost": ("total_cost", "currency"),
    "retry": ("attempt", "strategy", "backoff_ms"),
    "redaction": ("fields", "method", "salt_id"),
}


def _add(
    message: DescriptorProto, name: str, number: int, kind: Any, type_name: str = "", label: Any = _OPTIONAL
) -> None:
    field = message.field.add(name=name, number=number, type=kind, label=label)
    if type_name:
        field.type_name = f".{_PACKAGE}.{type_name}"


def _copy(message: DescriptorProto, field: Any) -> None:
    """Add the spec's `field` to the view's `message`."""
    label = _REPEATED if field.is_repeated else _OPTIONAL
    if field.message_type is None:
        _add(message, field.name, field.number, _INT32 if field.enum_type is not None else field.type, label=label)
    elif field.message_type.full_name == "google.protobuf.Struct":
        _add(message, field.name, field.number, _MESSAGE, "Struct1", label)
    else:
        _add(message, field.name, field.number, _MESSAGE, field.message_type.name, label)


def _structs(file: FileDescriptorProto) -> None:
    """google.protobuf.Struct (fields = 1: a map, so entries with a value = 2) and ListValue (values = 1), level by level."""
    for level in range(1, DEPTH + 1):
        value = file.message_type.add(name=f"Value{level}")
        _add(value, "string_value", 3, _STRING)
        if level < DEPTH:
            _add(value, "struct_value", 5, _MESSAGE, f"Struct{level + 1}")
            _add(value, "list_value", 6, _MESSAGE, f"List{level + 1}")
        else:
            _add(value, "struct_value", 5, _BYTES)
            _add(value, "list_value", 6, _BYTES)
        _add(file.message_type.add(name=f"Entry{level}"), "value", 2, _MESSAGE, f"Value{level}")
        _add(file.message_type.add(name=f"Struct{level}"), "fields", 1, _MESSAGE, f"Entry{level}", _REPEATED)
        _add(file.message_type.add(name=f"List{level}"), "values", 1, _MESSAGE, f"Value{level}", _REPEATED)


def descriptor() -> Any:
    """The view as a file: `Event`, and the levels of a Struct."""
    file = FileDescriptorProto(name="chaukas/gateway/sink/view.proto", package=_PACKAGE, syntax="proto3")
    _structs(file)
    spec = Event.DESCRIPTOR.fields_by_name
    event = file.message_type.add(name="Event")
    for name in ("event_id", "tenant_id", *PLAIN):
        _copy(event, spec[name])
    for name, wanted in (ARMS | _OTHERS).items():
        _copy(event, spec[name])
        if wanted:
            part = file.message_type.add(name=spec[name].message_type.name)
            for inner in wanted:
                _copy(part, spec[name].message_type.fields_by_name[inner])
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindFileByName(file.name)


@cache
def _handlers() -> dict[str, Any]:
    file = descriptor()
    pool = ptars.HandlerPool([file])
    handlers = {name: pool.get_for_message(file.message_types_by_name[name]) for name in ("Event", "Struct1", "List1")}
    # Whole, not a view: text that is no UTF-8 must be refused in every field, as protobuf does.
    told = ptars.HandlerPool([facts_pb2.DESCRIPTOR, enrichment_pb2.DESCRIPTOR])
    return {**handlers, "Enrichment": told.get_for_message(enrichment_pb2.Enrichment.DESCRIPTOR)}


class RefusedBatch(ValueError):
    """The parser refuses at least one value and does not say which."""


def parse(values: list[bytes], message: str = "Event") -> pa.RecordBatch:
    """One row per value, which is an `Event`, the rest of a deep Struct (a `Struct1` or `List1`), or an `Enrichment`.

    Raises :class:`RefusedBatch`.
    """
    handler = _handlers()[message]
    try:
        return handler.list_to_record_batch(values)
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:  # noqa: BLE001 - a hostile length panics in Rust, and pyo3's PanicException is no Exception
        raise RefusedBatch(type(error).__name__) from None
