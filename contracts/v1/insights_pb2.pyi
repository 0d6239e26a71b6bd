from chaukas.spec.common.v1 import query_pb2 as _query_pb2
from contracts.v1 import facts_pb2 as _facts_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListHandoffsRequest(_message.Message):
    __slots__ = ("filter", "page_size", "page_token", "order_by_time")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_TIME_FIELD_NUMBER: _ClassVar[int]
    filter: _query_pb2.QueryFilter
    page_size: int
    page_token: str
    order_by_time: _query_pb2.SortOrder
    def __init__(self, filter: _Optional[_Union[_query_pb2.QueryFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., order_by_time: _Optional[_Union[_query_pb2.SortOrder, str]] = ...) -> None: ...

class ListHandoffsResponse(_message.Message):
    __slots__ = ("handoffs", "next_page_token")
    HANDOFFS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    handoffs: _containers.RepeatedCompositeFieldContainer[_facts_pb2.HandoffFact]
    next_page_token: str
    def __init__(self, handoffs: _Optional[_Iterable[_Union[_facts_pb2.HandoffFact, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListMcpCallsRequest(_message.Message):
    __slots__ = ("filter", "page_size", "page_token", "order_by_time")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_TIME_FIELD_NUMBER: _ClassVar[int]
    filter: _query_pb2.QueryFilter
    page_size: int
    page_token: str
    order_by_time: _query_pb2.SortOrder
    def __init__(self, filter: _Optional[_Union[_query_pb2.QueryFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., order_by_time: _Optional[_Union[_query_pb2.SortOrder, str]] = ...) -> None: ...

class ListMcpCallsResponse(_message.Message):
    __slots__ = ("calls", "next_page_token")
    CALLS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[_facts_pb2.McpCallFact]
    next_page_token: str
    def __init__(self, calls: _Optional[_Iterable[_Union[_facts_pb2.McpCallFact, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetHandoffStatsRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "time_range")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_RANGE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    time_range: _query_pb2.TimeRange
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., time_range: _Optional[_Union[_query_pb2.TimeRange, _Mapping]] = ...) -> None: ...

class HandoffEdge(_message.Message):
    __slots__ = ("from_agent_id", "from_agent_name", "to_agent_id", "to_agent_name", "count", "loops", "p50_latency_ms", "p95_latency_ms", "p99_latency_ms")
    FROM_AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_AGENT_NAME_FIELD_NUMBER: _ClassVar[int]
    TO_AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    TO_AGENT_NAME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    LOOPS_FIELD_NUMBER: _ClassVar[int]
    P50_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    P95_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    P99_LATENCY_MS_FIELD_NUMBER: _ClassVar[int]
    from_agent_id: str
    from_agent_name: str
    to_agent_id: str
    to_agent_name: str
    count: int
    loops: int
    p50_latency_ms: float
    p95_latency_ms: float
    p99_latency_ms: float
    def __init__(self, from_agent_id: _Optional[str] = ..., from_agent_name: _Optional[str] = ..., to_agent_id: _Optional[str] = ..., to_agent_name: _Optional[str] = ..., count: _Optional[int] = ..., loops: _Optional[int] = ..., p50_latency_ms: _Optional[float] = ..., p95_latency_ms: _Optional[float] = ..., p99_latency_ms: _Optional[float] = ...) -> None: ...

class GetHandoffStatsResponse(_message.Message):
    __slots__ = ("edges",)
    EDGES_FIELD_NUMBER: _ClassVar[int]
    edges: _containers.RepeatedCompositeFieldContainer[HandoffEdge]
    def __init__(self, edges: _Optional[_Iterable[_Union[HandoffEdge, _Mapping]]] = ...) -> None: ...

class GetMcpStatsRequest(_message.Message):
    __slots__ = ("tenant_id", "project_id", "time_range")
    TENANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_RANGE_FIELD_NUMBER: _ClassVar[int]
    tenant_id: str
    project_id: str
    time_range: _query_pb2.TimeRange
    def __init__(self, tenant_id: _Optional[str] = ..., project_id: _Optional[str] = ..., time_range: _Optional[_Union[_query_pb2.TimeRange, _Mapping]] = ...) -> None: ...

class McpServerStats(_message.Message):
    __slots__ = ("server_name", "operation", "calls", "errors", "open", "p50_ms", "p95_ms", "p99_ms")
    SERVER_NAME_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    P50_MS_FIELD_NUMBER: _ClassVar[int]
    P95_MS_FIELD_NUMBER: _ClassVar[int]
    P99_MS_FIELD_NUMBER: _ClassVar[int]
    server_name: str
    operation: str
    calls: int
    errors: int
    open: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    def __init__(self, server_name: _Optional[str] = ..., operation: _Optional[str] = ..., calls: _Optional[int] = ..., errors: _Optional[int] = ..., open: _Optional[int] = ..., p50_ms: _Optional[float] = ..., p95_ms: _Optional[float] = ..., p99_ms: _Optional[float] = ...) -> None: ...

class GetMcpStatsResponse(_message.Message):
    __slots__ = ("servers",)
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    servers: _containers.RepeatedCompositeFieldContainer[McpServerStats]
    def __init__(self, servers: _Optional[_Iterable[_Union[McpServerStats, _Mapping]]] = ...) -> None: ...
