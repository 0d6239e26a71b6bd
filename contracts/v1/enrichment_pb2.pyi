from contracts.v1 import facts_pb2 as _facts_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Enrichment(_message.Message):
    __slots__ = ("received_at_ns", "clock_skew_ms", "effective_status", "duration_ms", "start_event_id", "recovered", "resend_of", "conflicts_with", "raw", "content_sha256", "canonical_sha256", "cost_usd", "price_table", "redacted", "redaction_version")
    class Recovered(_message.Message):
        __slots__ = ("mcp_server_name", "mcp_operation", "model_provider", "model", "tool_name", "function_name", "mcp_server_url", "mcp_method")
        MCP_SERVER_NAME_FIELD_NUMBER: _ClassVar[int]
        MCP_OPERATION_FIELD_NUMBER: _ClassVar[int]
        MODEL_PROVIDER_FIELD_NUMBER: _ClassVar[int]
        MODEL_FIELD_NUMBER: _ClassVar[int]
        TOOL_NAME_FIELD_NUMBER: _ClassVar[int]
        FUNCTION_NAME_FIELD_NUMBER: _ClassVar[int]
        MCP_SERVER_URL_FIELD_NUMBER: _ClassVar[int]
        MCP_METHOD_FIELD_NUMBER: _ClassVar[int]
        mcp_server_name: str
        mcp_operation: str
        model_provider: str
        model: str
        tool_name: str
        function_name: str
        mcp_server_url: str
        mcp_method: str
        def __init__(self, mcp_server_name: _Optional[str] = ..., mcp_operation: _Optional[str] = ..., model_provider: _Optional[str] = ..., model: _Optional[str] = ..., tool_name: _Optional[str] = ..., function_name: _Optional[str] = ..., mcp_server_url: _Optional[str] = ..., mcp_method: _Optional[str] = ...) -> None: ...
    RECEIVED_AT_NS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_SKEW_MS_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_STATUS_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    START_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    RECOVERED_FIELD_NUMBER: _ClassVar[int]
    RESEND_OF_FIELD_NUMBER: _ClassVar[int]
    CONFLICTS_WITH_FIELD_NUMBER: _ClassVar[int]
    RAW_FIELD_NUMBER: _ClassVar[int]
    CONTENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    CANONICAL_SHA256_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    PRICE_TABLE_FIELD_NUMBER: _ClassVar[int]
    REDACTED_FIELD_NUMBER: _ClassVar[int]
    REDACTION_VERSION_FIELD_NUMBER: _ClassVar[int]
    received_at_ns: int
    clock_skew_ms: float
    effective_status: int
    duration_ms: float
    start_event_id: str
    recovered: Enrichment.Recovered
    resend_of: int
    conflicts_with: int
    raw: _facts_pb2.SourcePosition
    content_sha256: bytes
    canonical_sha256: bytes
    cost_usd: float
    price_table: str
    redacted: _containers.RepeatedScalarFieldContainer[str]
    redaction_version: str
    def __init__(self, received_at_ns: _Optional[int] = ..., clock_skew_ms: _Optional[float] = ..., effective_status: _Optional[int] = ..., duration_ms: _Optional[float] = ..., start_event_id: _Optional[str] = ..., recovered: _Optional[_Union[Enrichment.Recovered, _Mapping]] = ..., resend_of: _Optional[int] = ..., conflicts_with: _Optional[int] = ..., raw: _Optional[_Union[_facts_pb2.SourcePosition, _Mapping]] = ..., content_sha256: _Optional[bytes] = ..., canonical_sha256: _Optional[bytes] = ..., cost_usd: _Optional[float] = ..., price_table: _Optional[str] = ..., redacted: _Optional[_Iterable[str]] = ..., redaction_version: _Optional[str] = ...) -> None: ...
