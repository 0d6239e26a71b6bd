"""JSON of the HTTP door: queries in; pages and outcomes of batches out."""

from __future__ import annotations

from typing import Any

from chaukas.spec.common.v1.query_pb2 import QueryRequest
from chaukas.spec.server.v1 import server_pb2

from contracts.spec_json import message_from_json, message_to_json
from gateway.http_errors import to_json
from gateway.ingest import BatchOutcome


def query_from_json(document: Any) -> server_pb2.QueryEventsRequest:
    if isinstance(document, dict) and set(document) == {"query"}:
        document = document["query"]
    request = server_pb2.QueryEventsRequest()
    request.query.CopyFrom(message_from_json(document, QueryRequest, "query"))
    return request


def query_to_json(raw: bytes) -> bytes:
    return to_json(message_to_json(server_pb2.QueryEventsResponse.FromString(raw).response, defaults=True))


def stats_from_json(document: Any) -> server_pb2.GetEventStatsRequest:
    return message_from_json(document, server_pb2.GetEventStatsRequest)


def batch_fields(outcome: BatchOutcome) -> dict[str, Any]:
    rejected = []
    for rejection in outcome.rejections:
        first, *others = rejection.violations
        entry: dict[str, Any] = {
            "index": rejection.index,
            "event_id": rejection.event_id,
            "field": first.field,
            "reason": first.reason,
        }
        if others:
            entry["others"] = [{"field": found.field, "reason": found.reason} for found in others]
        rejected.append(entry)
    return {
        "batch_id": outcome.batch_id,
        "accepted_count": outcome.accepted_count,
        "rejected_count": outcome.rejected_count,
        "rejected_event_ids": outcome.rejected_event_ids,
        "rejected": rejected,
    }
