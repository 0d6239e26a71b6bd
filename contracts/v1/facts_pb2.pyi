import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class McpCallStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MCP_CALL_STATUS_UNSPECIFIED: _ClassVar[McpCallStatus]
    MCP_CALL_STATUS_OPEN: _ClassVar[McpCallStatus]
    MCP_CALL_STATUS_OK: _ClassVar[McpCallStatus]
    MCP_CALL_STATUS_ERROR: _ClassVar[McpCallStatus]
    MCP_CALL_STATUS_ORPHAN_END: _ClassVar[McpCallStatus]
MCP_CALL_STATUS_UNSPECIFIED: McpCallStatus
MCP_CALL_STATUS_OPEN: McpCallStatus
MCP_CALL_STATUS_OK: McpCallStatus
MCP_CALL_STATUS_ERROR: McpCallStatus
MCP_CALL_STATUS_ORPHAN_END: McpCallStatus

class SourcePosition(_message.Message):
    __slots__ = ("topic", "partition", "offset")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    offset: int
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class HandoffFact(_message.Message):
    __slots__ = ("handoff_id", "tenant_id", "project_id", "session_id", "trace_id", "span_id", "from_agent_id", "from_agent_name", "to_agent_id", "to_agent_name", "handoff_type", "reason", "handed_off_at", "picked_up_at", "latency_ms", "source", "revision", "picked_up_event_id", "hop", "returns_to_earlier_agent")
    HANDOFF_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_AGENT_NAME_FIELD_NUMBER: _ClassVar[int]
    TO_AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    TO_AGENT_NAME_FIELD_NUMBER: _ClassVar[int]
    HANDOFF_TYPE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    HANDED_OFF_AT_FIELD_NUMBER: _ClassVar[int]
    PICKED_UP_AT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PICKED_UP_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    HOP_FIELD_NUMBER: _ClassVar[int]
    RETURNS_TO_EARLIER_AGENT_FIELD_NUMBER: _ClassVar[int]
    handoff_id: str
    tenant_id: str
    project_id: str
    session_id: str
    trace_id: str
    span_id: str
    from_agent_id: str
    from_agent_name: str
    to_agent_id: str
    to_agent_name: str
    handoff_type: str
    reason: str
    handed_off_at: _timestamp_pb2.Timestamp
    picked_up_at: _timestamp_pb2.Timestamp
    latency_ms: float
    source: SourcePosition
    revision: int
    picked_up_event_id: str
    hop: int
    returns_to_earlier_agent: bool
    def __init__(self, handoff_id: _Optional[str] = ..., tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., session_id: _Optional[str] = ..., trace_id: _Optional[str] = ..., span_id: _Optional[str] = ..., from_agent_id: _Optional[str] = ..., from_agent_name: _Optional[str] = ..., to_agent_id: _Optional[str] = ..., to_agent_name: _Optional[str] = ..., handoff_type: _Optional[str] = ..., reason: _Optional[str] = ..., handed_off_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., picked_up_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., latency_ms: _Optional[float] = ..., source: _Optional[_Union[SourcePosition, _Mapping]] = ..., revision: _Optional[int] = ..., picked_up_event_id: _Optional[str] = ..., hop: _Optional[int] = ..., returns_to_earlier_agent: _Optional[bool] = ...) -> None: ...

class McpCallFact(_message.Message):
    __slots__ = ("call_id", "start_event_id", "end_event_id", "tenant_id", "project_id", "session_id", "trace_id", "span_id", "agent_id", "agent_name", "server_name", "server_url", "operation", "method", "started_at", "ended_at", "measured_ms", "reported_ms", "status", "error_code", "error_message", "request_bytes", "response_bytes", "start_source", "end_source", "revision")
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    START_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    END_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_NAME_FIELD_NUMBER: _ClassVar[int]
    SERVER_NAME_FIELD_NUMBER: _ClassVar[int]
    SERVER_URL_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    MEASURED_MS_FIELD_NUMBER: _ClassVar[int]
    REPORTED_MS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_BYTES_FIELD_NUMBER: _ClassVar[int]
    START_SOURCE_FIELD_NUMBER: _ClassVar[int]
    END_SOURCE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    call_id: str
    start_event_id: str
    end_event_id: str
    tenant_id: str
    project_id: str
    session_id: str
    trace_id: str
    span_id: str
    agent_id: str
    agent_name: str
    server_name: str
    server_url: str
    operation: str
    method: str
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    measured_ms: float
    reported_ms: float
    status: McpCallStatus
    error_code: str
    error_message: str
    request_bytes: int
    response_bytes: int
    start_source: SourcePosition
    end_source: SourcePosition
    revision: int
    def __init__(self, call_id: _Optional[str] = ..., start_event_id: _Optional[str] = ..., end_event_id: _Optional[str] = ..., tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., session_id: _Optional[str] = ..., trace_id: _Optional[str] = ..., span_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., agent_name: _Optional[str] = ..., server_name: _Optional[str] = ..., server_url: _Optional[str] = ..., operation: _Optional[str] = ..., method: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., measured_ms: _Optional[float] = ..., reported_ms: _Optional[float] = ..., status: _Optional[_Union[McpCallStatus, str]] = ..., error_code: _Optional[str] = ..., error_message: _Optional[str] = ..., request_bytes: _Optional[int] = ..., response_bytes: _Optional[int] = ..., start_source: _Optional[_Union[SourcePosition, _Mapping]] = ..., end_source: _Optional[_Union[SourcePosition, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...
