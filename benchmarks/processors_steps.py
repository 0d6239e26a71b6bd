"""What the processors do to each record, against protobuf's own parse and serialize of the same bytes.

The stream is what a worker sees: many sessions of the SDK's shapes at once, each partition with its own window, one record
in fifty a re-send, and events of the size the SDK sends (see `sdk_events.py`).
"""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator, Sequence
from typing import Any

from chaukas.spec.common.v1 import events_pb2 as pb
from google.protobuf import any_pb2, struct_pb2

from benchmarks.measure import Result, compare
from benchmarks.sdk_events import fleshed_out
from contracts.topics import Topics
from contracts.v1 import enrichment_pb2
from processors import emit, extension
from processors.forms import common_forms
from processors.intake import Headers, RawRecord, read
from processors.pipeline import Output, PartitionState, process, process_all
from processors.window import Window
from tests.support.events import seeded_sessions
from tests.support.raw_records import RECEIVED_NS, raw_headers, raw_key

PARTITIONS = 8
#: Sessions that run at the same time.
AT_ONCE = 200
WINDOW = 50_000
#: Records of one poll.
POLL = 4000


def stream(count: int, seed: int = 11) -> list[RawRecord]:
    """`count` raw records of interleaved sessions, spread over the partitions by session, in order of arrival."""
    rng = random.Random(seed)
    waiting = [list(reversed(session)) for session in seeded_sessions(seed, count // 12, tenant="t", project="p")]
    active = [waiting.pop() for _ in range(min(AT_ONCE, len(waiting)))]
    offsets = [0] * PARTITIONS
    records: list[RawRecord] = []
    while len(records) < count:
        place = rng.randrange(len(active))
        event = fleshed_out(active[place].pop(), rng)
        if not active[place]:
            active.pop(place)
            active.extend(waiting[-1:])
            del waiting[-1:]
        key = raw_key(event)
        partition = sum(key) % PARTITIONS
        for _ in range(2 if rng.random() < 0.02 else 1):
            received = RECEIVED_NS + len(records) * 50_000  # the gateway's clock runs with the order of arrival
            headers = raw_headers(event, received)
            value = event.SerializeToString()
            records.append(RawRecord("raw", partition, offsets[partition], key, value, headers, received // 1_000_000))
            offsets[partition] += 1
    return records[:count]


class _Sink:
    """Where the steps' records go when nothing but the steps is measured."""

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        *,
        timestamp_ms: int = 0,
        headers: Headers | None = None,
    ) -> None:
        pass


def all_steps(records: Sequence[RawRecord]) -> None:
    """Every record from its bytes to the bytes that are produced: steps, facts serialized, headers, size check."""
    states = [PartitionState(Window(WINDOW)) for _ in range(PARTITIONS)]
    topics, sink = Topics(), _Sink()
    for first in range(0, len(records), POLL):  # as polls come, a batch for each partition
        batches: list[list[RawRecord]] = [[] for _ in range(PARTITIONS)]
        for record in records[first : first + POLL]:
            batches[record.partition].append(record)
        for state, batch in zip(states, batches, strict=True):
            for record, output in process_all(state, batch):
                assert isinstance(output, Output)
                emit.check_size(output.enriched, record)
                emit.emit(sink, topics, record, output)


def run() -> Iterator[Result]:
    records = stream(20_000)
    values = [record.value for record in records if record.value is not None]
    parse = pb.Event.FromString
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as the worker does

    def parse_and_serialize() -> None:
        for value in values:
            parse(value).SerializeToString()

    yield compare(
        "processors-steps",
        "all steps: raw record to records to produce",
        lambda: all_steps(records),
        "parse, serialize",
        parse_and_serialize,
        events=len(records),
        goal=8.0,
    )

    inputs, known = _enriched(records)
    yield compare(
        "processors-steps",
        "header and extension, by hand",
        lambda: [common_forms(*arguments) for arguments in inputs],
        "the extension alone, by the Struct API",
        lambda: [struct_extension(enrichment) for enrichment in known],
        events=len(inputs),
        goal=0.25,
    )
    some = values[: len(inputs)]
    yield compare(
        "processors-steps",
        "header and extension, by hand",
        lambda: [common_forms(*arguments) for arguments in inputs],
        "parse, serialize",
        lambda: [parse(value).SerializeToString() for value in some],
        events=len(inputs),
    )


def _enriched(records: Sequence[RawRecord]) -> tuple[list[tuple[Any, ...]], list[enrichment_pb2.Enrichment]]:
    """What the encoding by hand takes, of the records of its shapes (nearly all), and the same as messages."""
    states = [PartitionState(Window(WINDOW)) for _ in range(PARTITIONS)]
    inputs, messages = [], []
    for record in records:
        enriched = process(states[record.partition], record).enriched
        header = enriched.headers[-1][1]
        assert isinstance(header, bytes)
        known = enrichment_pb2.Enrichment.FromString(header)
        if enriched.mark is None and not known.HasField("recovered"):
            cost = known.cost_usd if known.HasField("cost_usd") else None
            arguments = (known.effective_status, known.clock_skew_ms, enriched.pairing, cost)
            inputs.append((read(record), *arguments))
            messages.append(known)
    return inputs, messages


def struct_extension(enrichment: enrichment_pb2.Enrichment) -> bytes:
    """What the Struct API needs for the same bytes, of the common fields."""
    struct, raw = struct_pb2.Struct(), enrichment.raw
    facts: dict[str, Any] = {
        "received_at": extension.rfc3339(enrichment.received_at_ns),
        "effective_status": pb.EventStatus.Name(enrichment.effective_status),
        "content_sha256": enrichment.content_sha256.hex(),
        "raw": {"topic": raw.topic, "partition": raw.partition, "offset": raw.offset},
    }
    for name in ("clock_skew_ms", "duration_ms", "resend_of", "cost_usd"):
        if enrichment.HasField(name):
            facts[name] = getattr(enrichment, name)
    if enrichment.start_event_id:
        facts["start_event_id"] = enrichment.start_event_id
    struct.update({extension.KEY: facts})
    packed = any_pb2.Any(type_url="type.googleapis.com/google.protobuf.Struct")
    packed.value = struct.SerializeToString(deterministic=True)
    appended: bytes = pb.Event(extensions=[packed]).SerializeToString(deterministic=True)
    return appended
