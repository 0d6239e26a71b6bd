"""``/openapi.json``: the HTTP door's description, its schemas generated from the spec's own messages so that they cannot drift."""

from __future__ import annotations

from typing import Any

from chaukas.spec.common.v1.events_pb2 import Event, EventBatch
from chaukas.spec.common.v1.query_pb2 import Capabilities, QueryRequest, QueryResponse
from chaukas.spec.server.v1.server_pb2 import GetEventStatsRequest, GetEventStatsResponse
from google.protobuf.descriptor import FieldDescriptor

from contracts.spec_json_out import KINDS, STATE
from gateway.http_body import PROTOBUF

_F = FieldDescriptor
_SCALARS: dict[int, dict[str, Any]] = {
    _F.TYPE_STRING: {"type": "string"},
    _F.TYPE_BOOL: {"type": "boolean"},
    _F.TYPE_DOUBLE: {"type": "number"},
    _F.TYPE_FLOAT: {"type": "number"},
    _F.TYPE_INT32: {"type": "integer", "format": "int32"},
    _F.TYPE_INT64: {"type": "integer", "format": "int64"},
}
_FREE_FORM = {"type": "object", "additionalProperties": True}
_WELL_KNOWN: dict[str, dict[str, Any]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Struct": _FREE_FORM,
    "google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "required": ["@type"],
        "additionalProperties": True,
    },
}
_STRING = {"type": "string"}
_COUNT = {"type": "integer", "format": "int64"}
_ACCEPTED = {
    "type": "object",
    "properties": {
        "event_id": _STRING,
        "status": {"type": "string", "enum": ["accepted"]},
        "processed_at": {**_COUNT, "description": "Unix milliseconds."},
    },
    "required": ["event_id", "status", "processed_at"],
}
_FIELD_REASON = {"field": _STRING, "reason": _STRING}
_BATCH_ACCEPTED = {
    "type": "object",
    "properties": {
        "batch_id": _STRING,
        "accepted_count": _COUNT,
        "rejected_count": _COUNT,
        "rejected_event_ids": {"type": "array", "items": _STRING},
        "rejected": {
            "type": "array",
            "description": "Why, for the first 1,000; `others` when an event broke several rules.",
            "items": {
                "type": "object",
                "properties": {
                    "index": _COUNT,
                    "event_id": _STRING,
                    **_FIELD_REASON,
                    "others": {"type": "array", "items": {"type": "object", "properties": _FIELD_REASON}},
                },
                "required": ["index", "event_id", "field", "reason"],
            },
        },
    },
    "required": ["batch_id", "accepted_count", "rejected_count", "rejected_event_ids", "rejected"],
}
_ERROR = {
    "type": "object",
    "properties": {
        "error": _STRING,
        "code": _STRING,
        "violations": {"type": "array", "items": {"type": "object", "properties": _FIELD_REASON}},
    },
    "required": ["error", "code"],
}
_ERRORS = {
    "400": "The request breaks a rule; `violations` name the fields.",
    "401": "No key or token, or one that is unknown, revoked or expired.",
    "403": "The key does not allow it.",
    "413": "The JSON body or batch is over its limit.",
    "415": "Neither JSON nor protobuf, or compressed.",
    "429": "No room, or a quota is used up; send again after Retry-After seconds.",
    "503": "Kafka or the query server does not answer, or the protobuf body is over its limit (`high memory usage`).",
}


def openapi_document() -> dict[str, Any]:
    """An OpenAPI 3.0 document."""
    schemas: dict[str, Any] = {"Accepted": _ACCEPTED, "BatchAccepted": _BATCH_ACCEPTED, "Error": _ERROR}
    messages = (
        Event,
        EventBatch,
        QueryRequest,
        QueryResponse,
        GetEventStatsRequest,
        GetEventStatsResponse,
        Capabilities,
    )
    for message in messages:
        _add(schemas, message.DESCRIPTOR)
    return {
        "openapi": "3.0.3",
        "info": {"title": "Chaukas Gateway", "version": "1", "description": __doc__ or ""},
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key, ck_…"}},
        },
        "security": [{"key": []}],
        "paths": {
            "/v1/events": _post("Accept one event", "Event", "202", "Accepted"),
            "/v1/events/batch": _post("Accept the good events of a batch", "EventBatch", "202", "BatchAccepted"),
            "/v1/query": _post("Query events", "QueryRequest", "200", "QueryResponse"),
            "/v1/stats": _post("Statistics of events", "GetEventStatsRequest", "200", "GetEventStatsResponse"),
            "/v1/capabilities": {"get": _operation("What works here", "200", "Capabilities")},
            "/healthz": _probe("Can the process serve"),
            "/readyz": _probe("Do its dependencies answer"),
        },
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}, PROTOBUF: {"schema": {"type": "string", "format": "binary"}}}


def _operation(summary: str, status: str, answer: str) -> dict[str, Any]:
    errors = {
        code: {"description": text, "content": {"application/json": {"schema": _ref("Error")}}}
        for code, text in _ERRORS.items()
    }
    return {
        "summary": summary,
        "responses": {status: {"description": summary, "content": _content(_ref(answer))}, **errors},
    }


def _post(summary: str, request: str, status: str, answer: str) -> dict[str, Any]:
    body = {"required": True, "content": _content(_ref(request))}
    return {"post": {**_operation(summary, status, answer), "requestBody": body}}


def _probe(summary: str) -> dict[str, Any]:
    return {"get": {"summary": summary, "security": [], "responses": {"200": {"description": "Yes"}}}}


def _add(schemas: dict[str, Any], descriptor: Any) -> None:
    if descriptor.name in schemas:
        return
    schema: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    schemas[descriptor.name] = schema
    contents = dict[str, Any]()
    for field in descriptor.fields:
        if descriptor is Event.DESCRIPTOR and field.containing_oneof is not None:
            contents[field.name] = field
        else:
            schema["properties"][field.name] = _field(schemas, field)
    if contents:
        schema["properties"]["content"] = {
            "oneOf": [_kind(schemas, kind, contents[name]) for kind, name in KINDS.items()],
        }
        schema["required"] = ["event_id", "tenant_id", "type"]


def _kind(schemas: dict[str, Any], kind: str, field: Any) -> dict[str, Any]:
    tag = {"kind": {"type": "string", "enum": [kind]}}
    if field.message_type.full_name in _WELL_KNOWN:
        return {"type": "object", "properties": {**tag, STATE: _FREE_FORM}, "required": ["kind"]}
    inner: dict[str, Any] = {}
    _add(inner, field.message_type)
    body = inner.pop(field.message_type.name)
    schemas.update(inner)
    return {**body, "properties": {**tag, **body["properties"]}, "required": ["kind"]}


def _field(schemas: dict[str, Any], field: Any) -> dict[str, Any]:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _field(schemas, message.fields_by_name["value"])}
    if message is not None:
        if message.full_name in _WELL_KNOWN:
            schema = _WELL_KNOWN[message.full_name]
        else:
            _add(schemas, message)
            schema = _ref(message.name)
    elif field.enum_type is not None:
        prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
        names = [value.name.removeprefix(prefix) for value in field.enum_type.values if value.number]
        schema = {"type": "string", "enum": names}
    else:
        schema = _SCALARS[field.type]
    return {"type": "array", "items": schema} if field.is_repeated else schema
