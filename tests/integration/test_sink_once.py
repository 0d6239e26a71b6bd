"""Once, and the first: each tier of what is promised about copies, with the copies in every order of arrival.

1. Identical copies with a timestamp: one row at once, however far apart.
2. Copies within the processors' window, which marked them: one row at once, whatever the copy is.
3. All others (another session, project or time, no time at all, other content, further apart than the window): one row when
   settling has seen them.

Every order is a fresh id, and the copies come in one batch, or one batch each, every batch twice (what a kill between insert and
commit amounts to), and then all of them again: a replay from the beginning.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb

from contracts.dead_letters import SourceRecord
from contracts.v1.enrichment_pb2 import Enrichment
from sink.migrate import migrate
from sink.store import Store
from tests.integration.test_sink_store import DAY_NS, Sink
from tests.support.events import START_NS, event
from tests.support.sink_records import RECEIVED_NS, enriched_record

#: How the copies of an id reach the store, and whether settling looks in between.
SAME_BATCH = ("one batch", False)
LATER_BATCHES = ("each batch twice", False)
SETTLED_BETWEEN = ("each batch twice", True)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    directory: Path = tmp_path_factory.mktemp("once")
    store = Store.open(f"chdb:///{directory}", readers=1)
    try:
        migrate(store.settler)
        yield Sink(store)
    finally:
        store.close()


@pytest.fixture
def sink(opened: Sink) -> Sink:
    opened.empty()
    return opened


def text(words: str) -> pb.MessageContent:
    return pb.MessageContent(text=words)


def unmarked(event_id: str, base: int) -> list[SourceRecord]:
    """The first, then a copy that differs from it in session, project, time (and month), the lack of a time, and content."""
    made = [
        event(event_id=event_id, message=text("first")),
        event(event_id=event_id, message=text("first"), session="other"),
        event(event_id=event_id, message=text("first"), project="other"),
        event(event_id=event_id, message=text("first"), at_ns=START_NS + 40 * DAY_NS),
        event(event_id=event_id, message=text("changed")),
    ]
    return [
        enriched_record(one, offset=base + number, partition=number % 2, received_ns=RECEIVED_NS + number)
        for number, one in enumerate(made)
    ]


def timeless(event_id: str, base: int) -> list[SourceRecord]:
    """The same bytes without a timestamp, three times: placed at the time of receipt, so three keys."""
    made = event(event_id=event_id, at_ns=None, message=text("first"))
    return [enriched_record(made, offset=base + n, partition=n, received_ns=RECEIVED_NS + n * 10**9) for n in range(3)]


def identical(event_id: str, base: int) -> list[SourceRecord]:
    """The same bytes with a timestamp; the last one reaches the server two months later."""
    made = event(event_id=event_id, message=text("first"))
    return [
        enriched_record(made, offset=base + n, partition=n, received_ns=RECEIVED_NS + n * 30 * DAY_NS) for n in range(3)
    ]


def marked(event_id: str, base: int) -> list[SourceRecord]:
    """The first, a re-send, and two copies with other content, as the processors mark them within their window."""
    first = event(event_id=event_id, message=text("first"))
    changed = event(event_id=event_id, message=text("changed"))
    elsewhere = event(event_id=event_id, message=text("first"), session="other", at_ns=None)
    return [
        enriched_record(first, offset=base, received_ns=RECEIVED_NS),
        enriched_record(first, offset=base + 1, received_ns=RECEIVED_NS + 1, resend_of=base),
        enriched_record(changed, offset=base + 2, received_ns=RECEIVED_NS + 2, conflicts_with=base + 1),
        enriched_record(elsewhere, offset=base + 3, received_ns=RECEIVED_NS + 3, conflicts_with=base + 2),
    ]


def arrive(sink: Sink, copies: Sequence[Sequence[SourceRecord]], arrival: tuple[str, bool]) -> None:
    """Every id's copies in an order of its own, then everything again from the beginning."""
    how, settle = arrival
    count = len(copies[0])
    orders = list(itertools.permutations(range(count)))
    assert len(copies) == len(orders)
    steps = [[records[order[step]] for records, order in zip(copies, orders, strict=True)] for step in range(count)]
    if how == "one batch":
        # Within a batch, too, they come in that order.
        steps = [[record for step in steps for record in step]]
    for step in steps:
        for _ in range(2 if how == "each batch twice" else 1):
            sink.write(step)
        if settle:
            sink.settler.settle()
    sink.write([record for records in copies for record in records])


def of_every_order(kind: Any, count: int) -> list[list[SourceRecord]]:
    orders = itertools.permutations(range(count))
    return [kind(f"event-{number}", number * 10) for number, _ in enumerate(orders)]


def stored(sink: Sink) -> list[tuple[Any, ...]]:
    return sink.rows("SELECT raw_offset, raw FROM events FINAL ORDER BY raw_offset")


def firsts(copies: Sequence[Sequence[SourceRecord]]) -> list[tuple[int, bytes | None]]:
    return [(records[0].offset, records[0].value) for records in copies]


def place(record: SourceRecord) -> tuple[int, int, bytes]:
    """Raw partition and offset, and the hash of the content."""
    found = Enrichment.FromString(dict(record.headers)["enrichment"] or b"")
    return (found.raw.partition, found.raw.offset, found.content_sha256)


def conflicts(sink: Sink) -> list[tuple[Any, ...]]:
    """Both positions and both hashes of every conflict, the conflicting copy's first."""
    found = sink.rows(
        "SELECT raw_partition, raw_offset, lower(hex(content_sha256)), first_partition, first_offset,"
        " lower(hex(first_content_sha256)), raw FROM conflicts FINAL ORDER BY raw_offset"
    )
    return [((row[0], row[1], bytes.fromhex(row[2])), (row[3], row[4], bytes.fromhex(row[5])), row[6]) for row in found]


@pytest.mark.parametrize("arrival", [SAME_BATCH, LATER_BATCHES])
def test_identical_copies_are_one_row_at_once(sink: Sink, arrival: tuple[str, bool]) -> None:
    copies = of_every_order(identical, 3)
    arrive(sink, copies, arrival)
    assert stored(sink) == firsts(copies)
    sink.settler.settle()
    assert stored(sink) == firsts(copies)
    assert sink.rows("SELECT raw_offset FROM resends FINAL ORDER BY raw_offset") == [
        (record.offset,) for records in copies for record in records[1:]
    ]
    assert conflicts(sink) == []


@pytest.mark.parametrize("arrival", [SAME_BATCH, LATER_BATCHES])
def test_marked_copies_are_one_row_at_once_and_conflicts_keep_both_hashes(
    sink: Sink, arrival: tuple[str, bool]
) -> None:
    copies = of_every_order(marked, 4)
    arrive(sink, copies, arrival)
    assert stored(sink) == firsts(copies)
    found = conflicts(sink)
    assert [(one[0], one[2]) for one in found] == [
        (place(record), record.value) for records in copies for record in records[2:]
    ]
    assert [one[1][:2] for one in found] == [(0, n * 10 + nearest) for n in range(len(copies)) for nearest in (1, 2)]
    sink.settler.settle()
    assert stored(sink) == firsts(copies)
    assert conflicts(sink) == [
        (place(record), place(records[0]), record.value) for records in copies for record in records[2:]
    ]
    assert sink.rows("SELECT raw_offset, first_offset FROM resends FINAL ORDER BY raw_offset") == [
        (records[1].offset, records[0].offset) for records in copies
    ]


@pytest.mark.parametrize("arrival", [SAME_BATCH, SETTLED_BETWEEN])
def test_other_copies_are_one_row_when_they_are_settled(sink: Sink, arrival: tuple[str, bool]) -> None:
    copies = of_every_order(unmarked, 5)
    arrive(sink, copies, arrival)
    sink.settler.settle()
    assert stored(sink) == firsts(copies)
    assert conflicts(sink) == [
        (place(record), place(records[0]), record.value) for records in copies for record in records[1:]
    ]
    assert sink.rows("SELECT count() FROM resends") == [(0,)], "another session, project or time is other content"


@pytest.mark.parametrize("arrival", [SAME_BATCH, LATER_BATCHES, SETTLED_BETWEEN])
def test_copies_without_a_time_are_one_row_when_they_are_settled(sink: Sink, arrival: tuple[str, bool]) -> None:
    copies = of_every_order(timeless, 3)
    arrive(sink, copies, arrival)
    sink.settler.settle()
    assert stored(sink) == firsts(copies)
    assert sink.rows("SELECT raw_offset FROM resends FINAL ORDER BY raw_offset") == [
        (record.offset,) for records in copies for record in records[1:]
    ]
    assert conflicts(sink) == []


def test_a_burst_of_marked_conflicts_gets_all_its_hashes(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sink.settle.IDS_PER_STEP", 4)
    copies = [marked(f"event-{number:03}", number * 10) for number in range(9)]
    sink.write([record for records in copies for record in records])
    sink.settler.settle()
    assert [one[1] for one in conflicts(sink)] == [place(records[0]) for records in copies for _ in range(2)]
