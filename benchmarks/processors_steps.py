"""What the processors do to each record, against protobuf's own parse and serialize of the same bytes.

The stream is what a worker sees: many sessions of the SDK's shapes at once, each partition with its own window, one record
in fifty a re-send, and events of the size the SDK sends (see `sdk_events.py`).
"""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator, Sequence
from time import process_time
from typing import Any

from chaukas.spec.common.v1 import events_pb2 as pb
from google.protobuf import any_pb2, struct_pb2

from benchmarks.measure import Result, compare, compare_timed
from benchmarks.sdk_events import fleshed_out
from contracts.topics import Topics
from contracts.v1 import enrichment_pb2
from processors import emit, extension
from processors.forms import common_forms
from processors.intake import Headers, RawRecord, read
from processors.pipeline import CHUNK, Output, PartitionState, Redact, process, process_all
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


def arrived(record: RawRecord) -> RawRecord:
    """The record in objects of its own, as the client library makes them when a worker reads it."""
    return RawRecord(
        record.topic,
        record.partition,
        record.offset,
        _copy(record.key),
        _copy(record.value),
        [(name.encode().decode(), _copy(content)) for name, content in record.headers],
        record.timestamp_ms,
    )


def _copy(content: bytes | None) -> bytes | None:
    return None if content is None else bytes(bytearray(content))


def chunks(records: Sequence[RawRecord]) -> Iterator[list[RawRecord]]:
    """The records as a worker takes them: polls, of each poll a batch for each partition, of each batch some at a time.

    They are made right before: a worker reads them so too, and records that were all made at the beginning would have left the
    processor's caches.
    """
    for first in range(0, len(records), POLL):
        batches: list[list[RawRecord]] = [[] for _ in range(PARTITIONS)]
        for record in records[first : first + POLL]:
            batches[record.partition].append(record)
        for batch in batches:
            for start in range(0, len(batch), CHUNK):
                yield [arrived(record) for record in batch[start : start + CHUNK]]


def all_steps(records: Sequence[RawRecord], redact: Redact | None = None) -> float:
    """Every record from its bytes to the bytes that are produced: steps, facts serialized, headers, size check. CPU seconds."""
    states = [PartitionState(Window(WINDOW), redact) for _ in range(PARTITIONS)]
    topics, sink = Topics(), _Sink()
    seconds = 0.0
    for chunk in chunks(records):
        state = states[chunk[0].partition]
        started = process_time()
        for record, output in process_all(state, chunk):
            assert isinstance(output, Output)
            emit.check_size(output.enriched, record)
            emit.emit(sink, topics, record, output)
        del output
        seconds += process_time() - started
    return seconds


def parse_and_serialize(records: Sequence[RawRecord]) -> float:
    """The baseline, CPU seconds."""
    parse, seconds = pb.Event.FromString, 0.0
    for chunk in chunks(records):
        values = [record.value or b"" for record in chunk]
        started = process_time()
        for value in values:
            parse(value).SerializeToString()
        seconds += process_time() - started
    return seconds


def run() -> Iterator[Result]:
    records = stream(20_000)
    values = [record.value for record in records if record.value is not None]
    parse = pb.Event.FromString
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as the worker does

    yield compare_timed(
        "processors-steps",
        "all steps: raw record to records to produce",
        lambda: all_steps(records),
        "parse, serialize",
        lambda: parse_and_serialize(records),
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
