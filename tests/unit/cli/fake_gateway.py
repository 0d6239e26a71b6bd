"""A gateway in this process for tests of the commands: the real services on a real port, the store a list."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
from chaukas.spec.common.v1 import events_pb2, query_pb2
from chaukas.spec.server.v1 import server_pb2, server_pb2_grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from contracts.v1 import facts_pb2, insights_pb2, insights_pb2_grpc

KEY = "ck_test_key"
TENANT = "t"
#: Room for reasons in an answer's trailers, bytes; like the gateway's.
TRAILER_BYTES = 4096


def status(code: int, message: str, *details: Any) -> status_pb2.Status:
    packed = []
    for detail in details:
        holder = any_pb2.Any()
        holder.Pack(detail)
        packed.append(holder)
    return status_pb2.Status(code=code, message=message, details=packed)


def retry_after(seconds: float) -> Any:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.FromNanoseconds(int(seconds * 1e9))
    return info


def bad_request(*violations: tuple[str, str]) -> Any:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field=name, description=reason) for name, reason in violations
        ]
    )


UNAVAILABLE = status(code_pb2.UNAVAILABLE, "Kafka does not answer", retry_after(0.25))


@dataclass
class FakeGateway(server_pb2_grpc.ChaukasServerServiceServicer, insights_pb2_grpc.InsightsServiceServicer):  # type: ignore[misc]
    events: list[Any] = field(default_factory=list)
    handoffs: list[facts_pb2.HandoffFact] = field(default_factory=list)
    calls: list[facts_pb2.McpCallFact] = field(default_factory=list)
    edges: list[insights_pb2.HandoffEdge] = field(default_factory=list)
    servers: list[insights_pb2.McpServerStats] = field(default_factory=list)
    #: Every request, in order, as (method, request).
    requests: list[tuple[str, Any]] = field(default_factory=list)
    #: Answers to the next calls of any method instead of the real one; None is the real one.
    failures: list[status_pb2.Status | None] = field(default_factory=list)
    max_batch_events: int = 1000
    page_rows: int = 1000
    endpoint: str = ""

    def _admit(self, method: str, request: Any, context: Any) -> None:
        if ("authorization", f"Bearer {KEY}") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "unknown or revoked API key")
        self.requests.append((method, request))
        if self.failures and (failure := self.failures.pop(0)) is not None:
            self._abort(context, failure)

    def _abort(self, context: Any, failure: status_pb2.Status) -> NoReturn:
        context.abort_with_status(rpc_status.to_status(failure))
        raise AssertionError("abort_with_status returned")

    def IngestEventBatch(self, request: Any, context: Any) -> Any:
        self._admit("IngestEventBatch", request, context)
        batch = request.event_batch
        if len(batch.events) > self.max_batch_events:
            self._abort(
                context,
                status(
                    code_pb2.INVALID_ARGUMENT,
                    "too large",
                    bad_request(("event_batch.events", f"at most {self.max_batch_events} events")),
                ),
            )
        rejected, violations = [], []
        for index, event in enumerate(batch.events):
            reason = ("tenant_id", "the key is bound to another tenant") if event.tenant_id != TENANT else None
            reason = reason or (None if event.event_id else ("event_id", "is required"))
            if reason is None:
                self.events.append(event)
                continue
            rejected.append(event.event_id or f"#{index}")
            violations.append((f"event_batch.events[{index}].{reason[0]}", reason[1]))
        if violations:
            kept = list(violations)
            while status(0, "", bad_request(*kept)).ByteSize() > TRAILER_BYTES:
                kept.pop()
            if len(kept) < len(violations):
                kept[-1] = ("", f"and {len(violations) - len(kept) + 1} more")
            trailer = status(0, "", bad_request(*kept)).SerializeToString()
            context.set_trailing_metadata([("grpc-status-details-bin", trailer)])
        return server_pb2.IngestEventBatchResponse(
            accepted_count=len(batch.events) - len(rejected),
            rejected_count=len(rejected),
            rejected_event_ids=rejected,
        )

    def QueryEvents(self, request: Any, context: Any) -> Any:
        self._admit("QueryEvents", request, context)
        query = request.query
        found = [
            event
            for event in self.events
            if (not query.filter.session_id or event.session_id == query.filter.session_id)
            and (not query.filter.types or event.type in query.filter.types)
            and (
                not query.filter.HasField("time")
                or event.timestamp.ToNanoseconds() >= query.filter.time.start.ToNanoseconds()
            )
        ]
        if query.order_by_time != query_pb2.SORT_ORDER_ASC:
            found.reverse()
        rows, token = self._page(query, found)
        return server_pb2.QueryEventsResponse(response=query_pb2.QueryResponse(events=rows, next_page_token=token))

    def GetEventStats(self, request: Any, context: Any) -> Any:
        self._admit("GetEventStats", request, context)
        answer = server_pb2.GetEventStatsResponse(
            total_events=len(self.events), total_sessions=len({event.session_id for event in self.events})
        )
        for event in self.events:
            answer.events_by_type[events_pb2.EventType.Name(event.type)] += 1
        answer.avg_session_duration_ms = 1234.5
        return answer

    def ListHandoffs(self, request: Any, context: Any) -> Any:
        self._admit("ListHandoffs", request, context)
        rows, token = self._page(request, self.handoffs)
        return insights_pb2.ListHandoffsResponse(handoffs=rows, next_page_token=token)

    def ListMcpCalls(self, request: Any, context: Any) -> Any:
        self._admit("ListMcpCalls", request, context)
        rows, token = self._page(request, self.calls)
        return insights_pb2.ListMcpCallsResponse(calls=rows, next_page_token=token)

    def GetHandoffStats(self, request: Any, context: Any) -> Any:
        self._admit("GetHandoffStats", request, context)
        return insights_pb2.GetHandoffStatsResponse(edges=self.edges)

    def GetMcpStats(self, request: Any, context: Any) -> Any:
        self._admit("GetMcpStats", request, context)
        return insights_pb2.GetMcpStatsResponse(servers=self.servers)

    def _page(self, request: Any, rows: list[Any]) -> tuple[list[Any], str]:
        begin = int(request.page_token or 0)
        end = begin + min(request.page_size or 100, self.page_rows)
        return rows[begin:end], str(end) if end < len(rows) else ""


@contextlib.contextmanager
def serving() -> Iterator[FakeGateway]:
    """The fake on a free port of the loopback address."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    fake = FakeGateway()
    server_pb2_grpc.add_ChaukasServerServiceServicer_to_server(fake, server)
    insights_pb2_grpc.add_InsightsServiceServicer_to_server(fake, server)  # type: ignore[no-untyped-call]
    fake.endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield fake
    finally:
        server.stop(None).wait()
