"""What the front door does to each event, against protobuf's own parse and serialize of the same bytes."""

from __future__ import annotations

from collections.abc import Iterator

from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2

from benchmarks.measure import Result, compare
from contracts import validation, wire
from tests.support.events import seeded_sessions

BATCH = 100


def requests(count: int) -> list[bytes]:
    """That many batches, as clients send them."""
    events = [
        event for session in seeded_sessions(7, count * BATCH // 15, tenant="t", project="p") for event in session
    ]
    made = []
    for start in range(0, count * BATCH, BATCH):
        request = server_pb2.IngestEventBatchRequest()
        request.event_batch.events.extend(events[start : start + BATCH])
        made.append(request.SerializeToString())
    return made


def run() -> Iterator[Result]:
    bodies = requests(200)
    limits = validation.Limits()

    def ours() -> None:
        for data in bodies:
            values = wire.slice_batch(data, 1000).slices()
            events = wire.parse_events(values)
            all_ids = [validation.identifiers(event) for event in events if event is not None]
            plain = validation.ids_are_plain(all_ids)
            for value, event, ids in zip(values, events, all_ids, strict=True):
                assert event is not None
                assert not validation.event_problems(event, ids, len(value), limits, plain)

    def parse_and_serialize() -> None:
        for data in bodies:
            values = wire.slice_batch(data, 1000).slices()
            for value in values:
                pb.Event.FromString(value).SerializeToString()

    yield compare(
        "gateway-steps",
        "slice, parse, validate",
        ours,
        "slice, parse, serialize",
        parse_and_serialize,
        events=len(bodies) * BATCH,
        goal=2.5,
    )
