"""The writer against a store that fails in chosen ways."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from clickhouse_connect.driver.summary import QuerySummary
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from contracts.dead_letters import SourceRecord
from contracts.errors import Unavailable
from contracts.flood import RUN
from contracts.headers import TRACEPARENT
from contracts.v1.dead_letter_pb2 import DeadLetter
from sink.batch import Batch
from sink.flood import FloodOfDeadLetters
from sink.metrics import SinkMetrics, catalogue
from sink.prepare import Prepared, prepare
from sink.store_errors import Fault, StoreUnavailable, fault_of
from sink.writer import Abandoned, Backoff, Writer, arrow_insert
from tests.support.events import event
from tests.support.sink_records import TOPICS, enriched_record
from tests.support.spans import PARENT, SAMPLED, TRACE, Spans, parent_of, trace_of

AT_ONCE = Backoff(first_seconds=0.0, most_seconds=0.0)
BAD_DATA = DatabaseError("x", code=321, name="VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE")
AWAY = OperationalError("connection refused")


class FakeStore:
    """Takes rows unless `fault` names an error for them."""

    def __init__(self, fault: Callable[[list[str]], Exception | None] = lambda _ids: None) -> None:
        self.fault = fault
        self.stored: list[str] = []
        self.calls: list[int] = []

    def insert(self, table: str, rows: pa.Table) -> None:
        ids = rows.column("event_id").to_pylist()
        self.calls.append(len(ids))
        error = self.fault(ids)
        if error is not None:
            raise error
        self.stored += ids


class FakeLetters:
    def __init__(self, failures: int = 0) -> None:
        self.sent: list[DeadLetter] = []
        self.failures = failures

    def send(self, letters: Sequence[DeadLetter]) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("no broker")
        self.sent += letters


def batch(*ids: str, broken: Sequence[SourceRecord] = ()) -> Prepared:
    made = Batch()
    for offset, event_id in enumerate(ids):
        made.add(enriched_record(event(event_id=event_id), offset=offset), 0.0)
    for record in broken:
        made.add(record, 0.0)
    return prepare(made, TOPICS)


def writer(store: FakeStore, letters: FakeLetters | None = None) -> tuple[Writer, SinkMetrics]:
    metrics = SinkMetrics(CollectorRegistry())
    return Writer(store.insert, letters or FakeLetters(), metrics, AT_ONCE), metrics


def test_a_good_batch_is_one_insert() -> None:
    store = FakeStore()
    made, metrics = writer(store)
    assert made.store(batch("a", "b", "c"), threading.Event()) == []
    assert (store.stored, store.calls) == (["a", "b", "c"], [3])
    assert metrics.rows_stored.labels("events")._value.get() == 3


def test_a_store_that_is_away_is_waited_for_and_nothing_is_dropped() -> None:
    answers: list[Exception | None] = [AWAY, DatabaseError("x", code=252), KeyError("a bug"), None]
    problems: list[str] = []

    def fault(_ids: list[str]) -> Exception | None:
        problems.append(made.problem)
        return answers.pop(0)

    store = FakeStore(fault)
    letters = FakeLetters()
    made, _ = writer(store, letters)
    made.store(batch("a", "b"), threading.Event())
    assert (store.stored, store.calls, letters.sent) == (["a", "b"], [2, 2, 2, 2], [])
    assert problems[0] == ""
    assert all(problems[1:])
    assert made.problem == ""


@pytest.mark.parametrize("bad", [{"c"}, {"a"}, {"h"}, {"a", "b", "h"}, set("abcdefgh")])
def test_refused_rows_are_isolated_and_become_letters(bad: set[str]) -> None:
    store = FakeStore(lambda ids: BAD_DATA if bad & set(ids) else None)
    letters = FakeLetters()
    made, _ = writer(store, letters)
    sent = made.store(batch(*"abcdefgh"), threading.Event())
    assert store.stored == [one for one in "abcdefgh" if one not in bad]
    assert [letter.offset for letter in sent] == ["abcdefgh".index(one) for one in sorted(bad)]
    assert letters.sent == sent
    assert {letter.reason for letter in sent} == {"row_refused"}
    assert "321" in sent[0].message


def test_a_store_that_refuses_the_rows_of_several_tenants_ends_the_writer_before_a_letter_is_sent() -> None:
    made = Batch()
    for offset in range(RUN):
        made.add(enriched_record(event(tenant=f"t{offset % 2}", event_id=str(offset)), offset=offset), 0.0)
    letters = FakeLetters()
    refusing, _ = writer(FakeStore(lambda ids: BAD_DATA), letters)
    with pytest.raises(FloodOfDeadLetters, match="100 records in a row of table events"):
        refusing.store(prepare(made, TOPICS), threading.Event())
    assert letters.sent == []


def test_refused_rows_of_one_tenant_stop_nobody_else() -> None:
    store = FakeStore(lambda ids: BAD_DATA if ids != ["good"] else None)
    letters = FakeLetters()
    made, _ = writer(store, letters)
    made.store(batch(*map(str, range(RUN + 1)), "good"), threading.Event())
    assert store.stored == ["good"]
    assert len(letters.sent) == RUN + 1


def test_a_batch_too_big_for_memory_is_split_and_a_row_too_big_is_waited_for() -> None:
    patience = [3]

    def fault(ids: list[str]) -> Exception | None:
        if len(ids) > 2:
            return DatabaseError("x", code=241)
        if ids == ["e"] and patience[0]:
            patience[0] -= 1
            return DatabaseError("x", code=241)
        return None

    store = FakeStore(fault)
    letters = FakeLetters()
    made, _ = writer(store, letters)
    made.store(batch(*"abcde"), threading.Event())
    assert sorted(store.stored) == list("abcde")
    assert letters.sent == []


def test_letters_are_sent_after_the_rows_and_until_they_are_acknowledged() -> None:
    broken = SourceRecord(TOPICS.enriched, 0, 9, None, b"\xff", enriched_record(event(), offset=9).headers, 0)
    store, letters = FakeStore(), FakeLetters(failures=2)
    made, metrics = writer(store, letters)
    made.store(batch("a", broken=[broken]), threading.Event())
    assert [letter.offset for letter in letters.sent] == [9]
    assert metrics.dead_letters.labels("unparseable")._value.get() == 1


def test_a_batch_that_is_given_up_ends_without_more_inserts() -> None:
    abandon = threading.Event()

    def fault(_ids: list[str]) -> Exception | None:
        abandon.set()
        return AWAY

    store = FakeStore(fault)
    made, _ = writer(store)
    with pytest.raises(Abandoned):
        made.store(batch("a", "b"), abandon)
    assert store.calls == [2]


def test_a_batch_that_is_given_up_between_two_inserts_makes_no_more() -> None:
    abandon = threading.Event()

    def fault(ids: list[str]) -> Exception | None:
        if len(ids) > 1:
            return BAD_DATA
        abandon.set()
        return None

    store = FakeStore(fault)
    made, _ = writer(store)
    with pytest.raises(Abandoned):
        made.store(batch("a", "b"), abandon)
    assert store.stored == ["a"]


def test_letters_of_a_batch_that_is_given_up_are_not_waited_for() -> None:
    abandon = threading.Event()
    abandon.set()
    broken = SourceRecord(TOPICS.enriched, 0, 9, None, b"\xff", enriched_record(event(), offset=9).headers, 0)
    made, _ = writer(FakeStore(), FakeLetters(failures=1000))
    with pytest.raises(Abandoned):
        made.store(batch(broken=[broken]), abandon)


def test_back_off_begins_anew_after_an_insert_that_worked() -> None:
    attempts: list[int] = []

    class Remembered(Backoff):
        def delay(self, attempt: int) -> float:
            attempts.append(attempt)
            return 0.0

    answers: list[Exception | None] = [BAD_DATA, AWAY, AWAY, None, AWAY, None]
    store = FakeStore(lambda _ids: answers.pop(0))
    Writer(store.insert, FakeLetters(), SinkMetrics(CollectorRegistry()), Remembered()).store(
        batch("a", "b"), threading.Event()
    )
    assert store.stored == ["a", "b"]
    assert attempts == [1, 2, 1]


def test_an_insert_is_bounded_in_time_and_durable_when_it_returns() -> None:
    asked: list[dict[str, Any]] = []

    class Client:
        def insert_arrow(self, table: str, rows: pa.Table, settings: dict[str, Any]) -> QuerySummary:
            assert (table, rows.num_rows) == ("events", 0)
            asked.append(settings)
            return QuerySummary({})

    client: Any = Client()
    arrow_insert(client, 42.0)("events", pa.table({}))
    assert asked == [{"max_execution_time": 42.0, "async_insert": 0, "max_partitions_per_insert_block": 0}]


@pytest.mark.parametrize(
    ("written", "seconds", "problem"),
    [("3", 0.0, ""), ("", 0.0, ""), ("7", 0.0, ""), ("2", 0.0, "tells of 2 of 3 rows"), ("3", 42.0, "its whole time")],
)
def test_an_insert_that_took_its_time_or_tells_of_fewer_rows_has_failed(
    written: str, seconds: float, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    class Client:
        def insert_arrow(self, *_: Any, **__: Any) -> QuerySummary:
            clock[0] += seconds
            return QuerySummary({"written_rows": written} if written else {})

    client: Any = Client()
    insert = arrow_insert(client, 42.0)
    rows = pa.table({"a": [1, 2, 3]})
    if not problem:
        insert("events", rows)
        return
    with pytest.raises(StoreUnavailable, match=problem) as raised:
        insert("events", rows)
    assert fault_of(raised.value) is Fault.RETRY


def test_back_off_grows_to_its_bound_and_is_spread() -> None:
    backoff = Backoff(first_seconds=0.2, most_seconds=10.0)
    for attempt, bound in ((1, 0.2), (2, 0.4), (6, 6.4), (7, 10.0), (500, 10.0)):
        delays = [backoff.delay(attempt) for _ in range(50)]
        assert all(bound / 2 <= delay <= bound for delay in delays)
        assert len(set(delays)) > 1


def test_the_catalogue_names_every_metric() -> None:
    registry = CollectorRegistry()
    metrics: Any = SinkMetrics(registry)
    documented = {entry.name.removesuffix("_total"): entry for entry in catalogue()}
    names = {family.name for family in registry.collect()}
    assert len(names) == len(vars(metrics))
    for name in names:
        assert documented[name].unit, name
        assert documented[name].moves, name


def traced_batch() -> Prepared:
    made = Batch()
    common: dict[str, Any] = {"extra_headers": {TRACEPARENT: SAMPLED.encode()}}
    for offset, found in enumerate((common, common, {}, {**common, "resend_of": 0})):
        made.add(enriched_record(event(event_id=f"e{offset}", agent_name="the content"), offset=offset, **found), 0.0)
    return prepare(made, TOPICS)


def test_the_insert_is_a_span_in_the_trace_of_each_call() -> None:
    store, spans = FakeStore(), Spans()
    made = Writer(store.insert, FakeLetters(), SinkMetrics(CollectorRegistry()), AT_ONCE, tracing=spans.tracing)
    made.store(traced_batch(), threading.Event())
    (one,) = spans.ended
    assert (one.name, trace_of(one), parent_of(one)) == ("INSERT events", TRACE, PARENT)
    assert dict(one.attributes or {}) == {
        "db.system.name": "clickhouse",
        "db.operation.name": "INSERT",
        "db.collection.name": "events",
        "db.operation.batch.size": 3,
        "chaukas.batch.records": 4,
    }
    assert one.status.is_unset


def test_an_insert_that_was_given_up_says_so() -> None:
    spans, abandon = Spans(), threading.Event()
    abandon.set()
    made = Writer(FakeStore().insert, FakeLetters(), SinkMetrics(CollectorRegistry()), AT_ONCE, tracing=spans.tracing)
    with pytest.raises(Abandoned):
        made.store(traced_batch(), abandon)
    assert [one.status.description for one in spans.ended] == ["Abandoned"]


def test_letters_are_logged_by_event_id() -> None:
    made, _ = writer(FakeStore(lambda ids: BAD_DATA if "bad" in ids else None))
    with capture_logs() as lines:
        made.store(batch("a", "bad"), threading.Event())
    refused, letters = lines
    assert (refused["event"], refused["event_id"]) == ("row refused", "bad")
    assert (letters["event"], letters["first_event_id"], letters["count"]) == ("dead letters", "bad", 1)
