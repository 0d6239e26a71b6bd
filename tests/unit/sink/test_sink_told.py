"""Headers by columns against headers one by one: whatever they hold, the same rows, the same refusals, the same marks."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from contracts import headers as h
from contracts.dead_letters import Reason, SourceRecord
from contracts.v1.enrichment_pb2 import Enrichment
from sink import rows
from sink.parsed_rows import map_singly
from sink.rows import map_events
from sink.told import told
from sink.wire_view import RefusedBatch
from tests.support.events import event
from tests.support.sink_records import enriched_record

Pair = tuple[str, bytes | None]

#: What a header may hold besides what it should.
ODD_VALUES = (None, b"", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"a\x00b", "é".encode(), b" ", b"x" * 300)
ODD_TIMES = (
    b"0",
    b"-1",
    b"+1",
    b" 1",
    b"1 ",
    b"1_0",
    b"0x10",
    b"1e3",
    "١".encode(),
    "1²".encode(),
    b"0" * 19,
    b"0" * 20,
    b"0000000000000000042",
    b"9223372036854775807",
    b"9223372036854775808",
    b"9999999999999999999",
    b"10000000000000000000",
)


def record(number: int, **found: Any) -> SourceRecord:
    """A record with every header the gateway and the processors write, in their order."""
    made = enriched_record(event(event_id=f"e{number}"), offset=number, **found)
    told_there = dict(made.headers)
    pairs: list[Pair] = [
        (h.TENANT_ID, told_there[h.TENANT_ID]),
        (h.PROJECT_ID, told_there[h.PROJECT_ID]),
        (h.EVENT_ID, told_there[h.EVENT_ID]),
        (h.EVENT_TYPE, b"EVENT_TYPE_AGENT_START"),
        (h.RECEIVED_AT_NS, told_there[h.RECEIVED_AT_NS]),
        (h.SCHEMA, told_there[h.SCHEMA]),
    ]
    if number % 3:
        pairs.append((h.BATCH_ID, f"batch-{number}".encode()))
    if number % 2:
        pairs.append((h.TRACEPARENT, b"00-11-22-01"))
    return made._replace(headers=[*pairs, (h.ENRICHMENT, told_there[h.ENRICHMENT])])


def assert_same(records: Sequence[SourceRecord]) -> None:
    fast, plain = map_events(records), map_singly(records)
    assert fast.table.equals(plain.table)
    assert [id(one) for one in fast.rows] == [id(one) for one in plain.rows]
    assert sorted((id(one), error.reason, str(error)) for one, error in fast.bad) == sorted(
        (id(one), error.reason, str(error)) for one, error in plain.bad
    )
    assert sorted(id(one.source) for one in fast.marked) == sorted(id(one.source) for one in plain.marked)


def enrichment(rng: random.Random, number: int) -> Enrichment:
    """One that is in order, mostly."""
    found = Enrichment(received_at_ns=number, effective_status=rng.randrange(6))
    found.raw.topic, found.raw.partition, found.raw.offset = (
        "raw",
        rng.choice([0, 1, 65535]),
        rng.choice([0, 9, 2**48 - 1]),
    )
    found.content_sha256, found.canonical_sha256 = rng.randbytes(32), rng.randbytes(32)
    if rng.random() < 0.5:
        found.duration_ms, found.cost_usd = rng.choice([0.0, -1.5, 3.25]), rng.choice([0.0, 0.5])
    if rng.random() < 0.3:
        found.recovered.mcp_server_name, found.recovered.model = "files", rng.choice(["", "m"])
    change = rng.randrange(24)
    if change == 0:
        found.ClearField("raw")
    elif change == 1:
        found.raw.partition = rng.choice([-1, 65536, 2**31 - 1])
    elif change == 2:
        found.raw.offset = rng.choice([-1, 2**48, 2**63 - 1])
    elif change == 3:
        found.content_sha256 = rng.randbytes(rng.choice([0, 31, 33]))
    elif change == 4:
        found.canonical_sha256 = rng.randbytes(rng.choice([0, 31, 33]))
    elif change == 5:
        found.resend_of = rng.choice([0, 7, -1])
    elif change == 6:
        found.conflicts_with = rng.choice([0, 7, -1])
    return found


def mutated(rng: random.Random, good: SourceRecord, number: int) -> SourceRecord:
    """`good` with one thing about its headers changed."""
    pairs = [*good.headers] or [(h.SCHEMA, None)]
    place, kind = rng.randrange(len(pairs)), rng.randrange(8)
    name = pairs[place][0]
    if kind == 0:
        del pairs[place]
    elif kind == 1:
        pairs[place] = (name, rng.choice(ODD_TIMES if name == h.RECEIVED_AT_NS else ODD_VALUES))
    elif kind == 2:
        pairs.insert(rng.randrange(len(pairs) + 1), (name, rng.choice(ODD_VALUES)))
    elif kind == 3:
        rng.shuffle(pairs)
    elif kind == 4:
        pairs.insert(place, ("other", b"\xff"))
    elif kind == 5:
        value = bytearray(pairs[-1][1] or b"-")
        value[rng.randrange(len(value))] = rng.randrange(256)
        pairs[-1] = (pairs[-1][0], bytes(value))
    elif kind == 6:
        pairs[-1] = (h.ENRICHMENT, enrichment(rng, number).SerializeToString())
    else:
        pairs = pairs[: rng.randrange(len(pairs) + 1)]
    return good._replace(headers=pairs)


@pytest.mark.parametrize("seed", range(8))
def test_any_headers(seed: int) -> None:
    rng = random.Random(seed)
    records = []
    for number in range(600):
        one = record(number)
        for _ in range(rng.choice([0, 0, 1, 1, 2])):
            one = mutated(rng, one, number)
        records.append(one)
    for start in range(0, len(records), 12):
        assert_same(records[start : start + 12])
    mapped = map_events(records)
    assert mapped.bad
    assert mapped.rows


@pytest.mark.parametrize("value", ODD_TIMES)
def test_times_of_receipt(value: bytes) -> None:
    odd = record(1)
    odd = odd._replace(headers=[(name, value if name == h.RECEIVED_AT_NS else told) for name, told in odd.headers])
    assert_same([record(0), odd, record(2)])


@pytest.mark.parametrize("name", [h.TENANT_ID, h.PROJECT_ID, h.EVENT_ID, h.BATCH_ID, h.TRACEPARENT, h.SCHEMA])
@pytest.mark.parametrize("value", ODD_VALUES)
def test_odd_values_cost_no_other_record(name: str, value: bytes | None) -> None:
    odd = record(1)
    odd = odd._replace(headers=[(header, value if header == name else told) for header, told in odd.headers])
    assert_same([record(0), odd, record(2)])
    mapped = map_events([record(0), odd, record(2)])
    assert {one.offset for one in mapped.rows} >= {0, 2}


@pytest.mark.parametrize("name", [h.TENANT_ID, h.EVENT_ID])
def test_an_empty_id_is_foreign_even_when_the_value_agrees(name: str) -> None:
    odd = record(1)
    odd = odd._replace(headers=[(header, b"" if header == name else told) for header, told in odd.headers])
    made = event(event_id="e1")
    made.ClearField("tenant_id" if name == h.TENANT_ID else "event_id")
    odd = odd._replace(value=made.SerializeToString())
    assert_same([record(0), odd])
    assert [error.reason for _, error in map_events([odd]).bad] == [Reason.FOREIGN_RECORD]


def test_of_a_header_that_repeats_the_first_counts() -> None:
    doubled = record(1)
    doubled = doubled._replace(headers=[*doubled.headers, (h.TENANT_ID, b"forged"), (h.PROJECT_ID, b"forged")])
    mapped = map_events([record(0), doubled])
    assert mapped.table.column("tenant_id").to_pylist() == ["t", "t"]
    assert mapped.table.column("project_id").to_pylist() == ["p", "p"]


def test_an_enrichment_that_does_not_parse_is_foreign_and_costs_no_other_record() -> None:
    hostile = b"\x4a" + b"\xff" * 9 + b"\x01"
    odd = record(1)
    odd = odd._replace(headers=[*odd.headers[:-1], (h.ENRICHMENT, hostile)])
    with pytest.raises(RefusedBatch):
        told([record(0), odd])
    mapped = map_events([record(0), odd, record(2)])
    assert [one.offset for one in mapped.rows] == [0, 2]
    assert [(one.offset, error.reason) for one, error in mapped.bad] == [(1, Reason.FOREIGN_RECORD)]


def test_records_in_order_are_not_asked_singly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layouts of gateway and processors, with and without batch and trace, go the fast way; so do copies of another batch."""
    records = [record(number) for number in range(50)]
    wanted = map_singly(records).table

    def singly(_records: Sequence[SourceRecord]) -> Any:
        raise AssertionError("asked singly")

    monkeypatch.setattr(rows, "map_singly", singly)
    assert map_events(records).table.equals(wanted)
