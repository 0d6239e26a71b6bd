"""Requests that are serialized before the clock runs: a call costs its sender one replacement of bytes."""

from __future__ import annotations

import random

from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2

from benchmarks.sdk_events import fleshed_out
from tests.support.events import seeded_sessions

#: Stands in every event id of a request, and nowhere else in it; as long as what takes its place.
_TAG = b"0f1e2d3c4b5a6978"
#: Different requests of a pool.
POOL = 50


def pool(tenant_id: str, project_id: str, events_per_call: int, seed: int = 1, size: int = POOL) -> list[bytes]:
    """Serialized batch requests of events of about 550 bytes, as the SDK fills them in; sessions follow one another."""
    events = _events(tenant_id, project_id, size * events_per_call, seed)
    requests = []
    for start in range(0, len(events), events_per_call):
        batch = pb.EventBatch(batch_id=f"batch-{_TAG.decode()}", events=events[start : start + events_per_call])
        requests.append(server_pb2.IngestEventBatchRequest(event_batch=batch).SerializeToString())
    return requests


def singles(tenant_id: str, project_id: str, seed: int = 1, size: int = 1000) -> list[bytes]:
    """Serialized single-event requests of the same events."""
    return [
        server_pb2.IngestEventRequest(event=event).SerializeToString()
        for event in _events(tenant_id, project_id, size, seed)
    ]


def fresh(request: bytes, number: int) -> bytes:
    """`request` with the event ids of call `number`."""
    return request.replace(_TAG, b"%016x" % number)


def _events(tenant_id: str, project_id: str, count: int, seed: int) -> list[pb.Event]:
    rng = random.Random(seed)
    sessions = seeded_sessions(seed, count // 12 + 1, tenant=tenant_id, project=project_id)
    events = [fleshed_out(event, rng) for session in sessions for event in session][:count]
    for number, event in enumerate(events):
        event.event_id = f"{_TAG.decode()}-{number:019d}"  # as long as a UUID
    return events
