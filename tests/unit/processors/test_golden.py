"""What seeded traffic becomes on all topics, pinned by one hash: what was processed before an upgrade of the code may be
processed again after it, and must give the same bytes.

Prices are the test's own: an upgrade of genai-prices may change costs.
"""

from __future__ import annotations

import random
from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from google.protobuf.message import DecodeError

from benchmarks.sdk_events import fleshed_out
from contracts.topics import Topics
from processors import emit, enrich, forms, pricing
from processors.intake import BadRecord, RawRecord
from processors.pipeline import PartitionState, process_all
from processors.window import Window
from tests.support.processors_check import traffic
from tests.support.raw_records import RECEIVED_NS, raw_record
from tests.unit.processors.test_purity import Sent, random_partition

GOLDEN = "37f07f28fc7cf51a53090320bd7141de745f54bae770d858c76e58832388204b"


def sdk_partition() -> list[RawRecord]:
    """Sessions as the SDK sends them; some values in another order of fields, or with a field that nobody knows."""
    records = []
    for number, sent in enumerate(traffic(5, 60)):
        event = pb.Event()
        event.CopyFrom(sent)
        if number % 3:
            fleshed_out(event, random.Random(sent.event_id))
        if number % 17 == 0:
            event.ClearField("timestamp")
        value = event.SerializeToString(deterministic=True)
        if number % 5 == 0:
            value = b"\x9a\x06\x00" + value  # an extension, the last field, first
        elif number % 7 == 0:
            value += b"\xf8\x3f\x01"
        received = RECEIVED_NS + number * 1_234_567_891
        record = raw_record(event, 3 * number, partition=5, received_at_ns=received, value=value)
        if number % 11 == 0:
            record.headers.append(("batch_id", b"b"))
        if number % 13 == 0:
            record.headers.insert(0, ("odd", None))
        if number % 19 == 0:
            record.headers.append(("enrichment", b"forged"))
        if number % 23 == 0:
            record.headers.append(("replay_of", b"letter"))
        records.append(record)
    return records


def colliding_partition(seed: int) -> list[RawRecord]:
    """Of the purity test; its maps sorted, since protobuf sorts them only when asked."""
    records = random_partition(seed)
    for record in records:
        try:
            record.value = pb.Event.FromString(record.value or b"").SerializeToString(deterministic=True)
        except DecodeError:
            pass
    return records


def emitted(records: list[RawRecord], window: int) -> list[tuple[Any, ...]]:
    sent, state = Sent(), PartitionState(Window(window))
    for record, output in process_all(state, records):
        if isinstance(output, BadRecord):
            emit.emit_dead_letter(sent, Topics(), record, output)
        else:
            emit.emit(sent, Topics(), record, output)
    return sent.records


def test_the_bytes_on_all_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    price: Any = lambda *_: lambda tokens_in, tokens_out, _: (3 * Decimal(tokens_in) + 7 * tokens_out) / 1_000_000  # noqa: E731
    monkeypatch.setattr(pricing, "_price_of", price)
    for module in (enrich, forms):
        monkeypatch.setattr(module, "PRICE_TABLE", "prices of the test")
    forms._shape.cache_clear()
    try:
        found = emitted(sdk_partition(), 400)
        for seed in range(40):
            found += emitted(colliding_partition(seed), 20)
    finally:
        forms._shape.cache_clear()
    topics = [record[0] for record in found]
    assert {topic.removeprefix("chaukas."): topics.count(topic) for topic in set(topics)} == {
        "events.enriched": 3042,
        "metrics.handoffs": 443,
        "metrics.mcp_calls": 555,
        "dead_letters": 79,
    }
    assert sha256(repr(found).encode()).hexdigest() == GOLDEN
