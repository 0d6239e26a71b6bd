"""The agent with batches, an outbox and a log that are Python lists: what it acknowledges, and when it rebuilds."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from faust.types import TP
from prometheus_client import CollectorRegistry

from contracts.errors import Unavailable
from contracts.redaction import parse_rules
from contracts.topics import ENRICHED_MAX_BYTES, Topics
from contracts.v1 import dead_letter_pb2, enrichment_pb2
from processors.agents import EnrichAgent
from processors.intake import RawRecord
from processors.metrics import Metrics
from processors.redact import Redactor
from processors.transport import Abandoned, StopWorker
from processors.transport.ledger import Batch, Ledger
from processors.window import Window
from runtime.spans import Tracing
from tests.support.events import START_NS, event
from tests.support.raw_records import raw_record

TP0 = TP("raw", 0)


class Message:
    """A RawRecord as a confluent-kafka message."""

    def __init__(self, record: RawRecord) -> None:
        self.record = record

    def topic(self) -> str:
        return self.record.topic

    def partition(self) -> int:
        return self.record.partition

    def offset(self) -> int:
        return self.record.offset

    def key(self) -> bytes | None:
        return self.record.key

    def value(self) -> bytes | None:
        return self.record.value

    def headers(self) -> Any:
        return self.record.headers or None

    def timestamp(self) -> tuple[int, int]:
        return (1, self.record.timestamp_ms)


class Outbox:
    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.bytes = 0
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, topic: str, value: Any, key: Any = None, *, timestamp_ms: int = 0, headers: Any = None) -> None:
        if self.rig.send_error is not None:
            raise self.rig.send_error
        self.rig.sent.append((topic, value, dict(headers)))

    def delivered(self) -> asyncio.Future[None]:
        if not self.future.done():
            self.future.set_result(None)
        return self.future


class Rig:
    def __init__(
        self,
        log: list[RawRecord],
        window: int = 10,
        redactor: Redactor | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.log = log
        self.sent: list[tuple[str, Any, dict[str, Any]]] = []
        self.failed: list[tuple[Batch, BaseException]] = []
        self.reads: list[tuple[int, int]] = []
        self.send_error: Exception | None = None
        self.read_error: Exception | None = None
        self.registry = CollectorRegistry()
        self.ledger = Ledger(lambda: None, lambda batch, error: self.failed.append((batch, error)))
        self.ledger.begin([TP0])
        make: Any = lambda: Outbox(self)  # noqa: E731
        self.agent = EnrichAgent(
            topics=Topics("x."),
            window=Window(window),
            outbox=make,
            read=self.read,
            metrics=Metrics(self.registry),
            redactor=redactor,
            tracing=tracing,
            group="workers",
        )

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[RawRecord]:
        self.reads.append((start, end))
        if self.read_error is not None:
            raise self.read_error
        return (record for record in self.log if start <= record.offset < end)

    def batch(self, first: int, end: int) -> Batch:
        records = [Message(record) for record in self.log if first <= record.offset < end]
        batch = self.ledger.add(self.ledger.leases[TP0], records, 1)
        assert batch is not None
        return batch

    async def run(self, *batches: Batch) -> None:
        async def stream() -> AsyncIterator[Batch]:
            for batch in batches:
                yield batch

        await self.agent.run(stream())
        await asyncio.sleep(0)  # done_after's callbacks

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"chaukas_processors_{name}", labels) or 0.0


def calls(count: int) -> list[RawRecord]:
    """START and END of `count` tool calls."""
    log: list[RawRecord] = []
    for number in range(count):
        at = START_NS + number * 10**9
        kinds = (pb.EVENT_TYPE_TOOL_CALL_START, pb.EVENT_TYPE_TOOL_CALL_END)
        for kind, when in zip(kinds, (at, at + 5_000_000), strict=True):
            log.append(raw_record(event(kind, span_id=f"s{number}", at_ns=when), len(log)))
    return log


def durations(rig: Rig) -> list[float]:
    found = [enrichment_pb2.Enrichment.FromString(headers["enrichment"]) for _, _, headers in rig.sent]
    return [made.duration_ms for made in found if made.HasField("duration_ms")]


async def test_a_batch_is_done_when_everything_is_delivered() -> None:
    rig = Rig(calls(4))
    batch = rig.batch(0, 8)
    await rig.run(batch)
    assert batch.finished
    assert [topic for topic, _, _ in rig.sent] == ["x.events.enriched"] * 8
    assert durations(rig) == [5.0] * 4
    assert rig.metric("records_total", fate="enriched") == 8


async def test_the_window_is_rebuilt_once_per_assignment() -> None:
    rig = Rig(calls(20), window=5)
    await rig.run(rig.batch(25, 30), rig.batch(30, 33))
    assert rig.reads == [(15, 25)]
    assert durations(rig) == [5.0] * 4  # the END at 25 found its START at 24
    rig.ledger.begin([TP0])
    await rig.run(rig.batch(33, 40))
    assert rig.reads[1:] == [(23, 33)]
    assert rig.failed == []


async def test_a_bad_record_becomes_a_dead_letter_and_the_batch_goes_on() -> None:
    log = calls(2)
    log[1] = RawRecord("raw", 0, 1, b"k", b"\xffjunk", [], 5)
    rig = Rig(log)
    batch = rig.batch(0, 4)
    await rig.run(batch)
    assert batch.finished
    topic, value, headers = rig.sent[1]
    assert topic == "x.dead_letters"
    assert dead_letter_pb2.DeadLetter.FromString(value).offset == 1
    assert headers["reason"] == b"foreign_record"
    assert rig.metric("dead_letters_total", reason="foreign_record") == 1


async def test_what_would_be_too_large_enriched_becomes_a_dead_letter_and_is_delivered() -> None:
    log = calls(2)
    huge = event(pb.EVENT_TYPE_ERROR, error=pb.ErrorInfo(error_message="m" * ENRICHED_MAX_BYTES))
    log[1] = raw_record(huge, 1)
    rig = Rig(log)
    batch = rig.batch(0, 4)
    await rig.run(batch)
    assert batch.finished
    topic, value, headers = rig.sent[1]
    assert (topic, headers["reason"]) == ("x.dead_letters", b"too_large")
    assert dead_letter_pb2.DeadLetter.FromString(value).value == log[1].value
    assert rig.metric("dead_letters_total", reason="too_large") == 1
    assert [topic for topic, _, _ in rig.sent].count("x.events.enriched") == 3


async def test_a_failed_batch_is_not_done_and_its_repetition_starts_from_a_rebuilt_window() -> None:
    rig = Rig(calls(4))
    first, second = rig.batch(0, 3), rig.batch(3, 8)
    await rig.run(first)
    rig.send_error = RuntimeError("planned")
    await rig.run(second)
    assert [(batch, str(error)) for batch, error in rig.failed] == [(second, "planned")]
    rig.send_error = None
    rig.sent.clear()
    await rig.run(second)
    assert second.finished
    assert rig.reads[-1] == (0, 3)
    assert durations(rig) == [5.0] * 3


async def test_a_log_that_cannot_be_read_back_fails_the_batch() -> None:
    rig = Rig(calls(4))
    rig.read_error = Unavailable("no answer")
    batch = rig.batch(4, 8)
    await rig.run(batch)
    assert not batch.finished
    assert rig.sent == []
    assert isinstance(rig.failed[0][1], Unavailable)


async def test_a_flood_stops_the_worker_before_its_batch_is_done() -> None:
    rig = Rig([RawRecord("raw", 0, offset, b"k", b"\xff", [], 5) for offset in range(150)])
    batch = rig.batch(0, 150)
    await rig.run(batch)
    assert not batch.finished
    assert isinstance(rig.failed[0][1], StopWorker)
    assert "100 records in a row" in str(rig.failed[0][1])


async def test_one_tenants_bad_records_alarm_and_stop_nobody() -> None:
    rig = Rig([RawRecord("raw", 0, offset, b"k", b"\xff", [("tenant_id", b"t")], 5) for offset in range(150)])
    batch = rig.batch(0, 150)
    await rig.run(batch)
    assert batch.finished
    assert rig.metric("dead_letter_alarms_total") == 1


async def test_a_flood_is_counted_across_restarts() -> None:
    rig = Rig([RawRecord("raw", 0, offset, b"k", b"\xff", [], 5) for offset in range(150)], window=50)
    first = rig.batch(0, 60)
    await rig.run(first)
    assert first.finished
    rig.ledger.begin([TP0])
    await rig.run(rig.batch(60, 150))
    assert isinstance(rig.failed[0][1], StopWorker)


async def test_accepted_letters_are_no_flood() -> None:
    rig = Rig([RawRecord("raw", 0, offset, b"k", b"\xff", [], 5) for offset in range(150)])
    rig.agent._accepted_until_ms = 6
    batch = rig.batch(0, 150)
    await rig.run(batch)
    assert batch.finished
    assert len(rig.sent) == 150


async def test_letters_accepted_while_the_worker_runs_stop_nothing() -> None:
    rig = Rig([RawRecord("raw", 0, offset, b"k", b"\xff", [], 5) for offset in range(150)])
    rig.agent._ask_accepted = lambda: 6
    batch = rig.batch(0, 150)
    await rig.run(batch)
    assert [isinstance(error, StopWorker) for _, error in rig.failed] == [False], "to be delivered again"
    rig.sent.clear()
    await rig.run(batch)
    assert batch.finished
    assert len(rig.sent) == 150


async def test_what_was_accepted_before_a_restart_is_no_part_of_a_later_flood() -> None:
    log = [RawRecord("raw", 0, offset, b"k", b"\xff", [], 5 if offset < 150 else 7) for offset in range(160)]
    rig = Rig(log, window=200)
    rig.agent._accepted_until_ms = 6
    batch = rig.batch(150, 160)
    await rig.run(batch)
    assert batch.finished


async def test_a_partition_that_leaves_while_its_window_is_rebuilt_emits_nothing() -> None:
    rig = Rig(calls(4))
    batch = rig.batch(4, 8)
    read = rig.agent._read

    def lose(topic: str, partition: int, start: int, end: int) -> Iterator[RawRecord | None]:
        rig.ledger.end([TP0])
        return read(topic, partition, start, end)

    rig.agent._read = lose
    await rig.run(batch)
    assert rig.sent == []
    assert not batch.finished


async def test_a_prepared_partition_is_read_back_once() -> None:
    rig = Rig(calls(20), window=5)
    number = rig.ledger.leases[TP0].number
    await rig.agent.prepare(TP0, number, 25, lambda: None)
    await rig.run(rig.batch(25, 30))
    assert rig.reads == [(15, 25)]
    assert durations(rig) == [5.0] * 3
    assert rig.failed == []


@pytest.mark.parametrize("first", [24, 26])
async def test_what_was_prepared_for_another_offset_is_read_back_again(first: int) -> None:
    """Also for an earlier one: what lies between may exist, and was not looked at."""
    rig = Rig(calls(20), window=5)
    await rig.agent.prepare(TP0, rig.ledger.leases[TP0].number, 25, lambda: None)
    await rig.run(rig.batch(first, 30))
    assert rig.reads == [(15, 25), (first - 10, first)]


async def test_other_partitions_go_on_while_one_is_read_back() -> None:
    rig = Rig(calls(4))
    tp1, reading, go_on = TP("raw", 1), threading.Event(), threading.Event()
    read = rig.agent._read

    def slowly(topic: str, partition: int, start: int, end: int) -> Iterator[RawRecord | None]:
        if partition == 1:
            reading.set()
            assert go_on.wait(20)
        return read(topic, partition, start, end)

    rig.agent._read = slowly
    rig.ledger.begin([tp1])
    preparing = asyncio.create_task(rig.agent.prepare(tp1, rig.ledger.leases[tp1].number, 4, lambda: None))
    assert await asyncio.to_thread(reading.wait, 20)
    batch = rig.batch(0, 8)
    await rig.run(batch)
    assert batch.finished
    assert not preparing.done()
    go_on.set()
    await preparing
    assert rig.agent._partitions.keys() == {0, 1}


async def test_what_is_not_ours_any_more_when_it_was_read_back_is_dropped() -> None:
    rig = Rig(calls(4))

    def gone() -> None:
        if rig.reads:
            raise Abandoned

    with pytest.raises(Abandoned):
        await rig.agent.prepare(TP0, 1, 4, gone)
    assert rig.agent._partitions == {}
    assert rig.metric("rebuild_seconds_count") == 0


async def test_reading_back_gives_up_during_a_silence_when_nobody_needs_it() -> None:
    rig = Rig(calls(4))
    ended = threading.Event()

    def silent(topic: str, partition: int, start: int, end: int) -> Iterator[RawRecord | None]:
        rig.reads.append((start, end))
        try:
            while True:
                yield None
        finally:
            ended.set()

    def gone() -> None:
        if rig.reads:
            raise Abandoned

    rig.agent._read = silent
    with pytest.raises(Abandoned):
        await rig.agent.prepare(TP0, 1, 4, gone)
    gc.collect()
    assert ended.is_set()


async def test_partitions_that_left_are_forgotten() -> None:
    rig = Rig(calls(4))
    await rig.run(rig.batch(0, 8))
    assert rig.metric("window_entries", partition="0") > 0
    rig.agent.forget({0, 7})
    assert rig.registry.get_sample_value("chaukas_processors_window_entries", {"partition": "0"}) is None


@pytest.mark.parametrize("fate", ["resend", "conflict"])
async def test_fates_are_counted(fate: str) -> None:
    sent, other = event(event_id="e"), event(event_id="e", agent_id="x")
    rig = Rig([raw_record(sent, 0), raw_record(sent if fate == "resend" else other, 1)])
    await rig.run(rig.batch(0, 2))
    assert rig.metric("records_total", fate=fate) == 1


RULES = """
version: 1
tenants:
  ruled: {rules: [{name: all, patterns: [secret], action: mask}]}
"""


async def test_no_letter_of_a_tenant_with_rules_holds_a_value() -> None:
    """Nor one of a record of which nobody knows whose it is."""
    long = pb.MessageContent(text="secret" * 400_000, role="x" * (ENRICHED_MAX_BYTES - 1000))
    log = [
        raw_record(event(tenant="ruled", message=long), 0),
        raw_record(event(tenant="free", message=long), 1),
        raw_record(event(tenant="ruled"), 2, value=b"\xffsecret"),
        raw_record(event(tenant="free"), 3, value=b"\xffsecret"),
        raw_record(event(tenant="ruled", message=pb.MessageContent(text="a secret")), 4),
    ]
    rig = Rig(log, redactor=Redactor(parse_rules(RULES), b""))
    batch = rig.batch(0, 5)
    await rig.run(batch)
    assert not rig.failed
    letters = [
        dead_letter_pb2.DeadLetter.FromString(value) for topic, value, _ in rig.sent if topic == "x.dead_letters"
    ]
    assert [(one.offset, one.reason, one.withheld) for one in letters] == [
        (0, "too_large", True),
        (1, "too_large", False),
        (2, "unparseable", True),
        (3, "unparseable", True),
    ]
    assert all(b"secret" not in one.SerializeToString() for one in letters if one.withheld)
    (enriched,) = [pb.Event.FromString(value) for topic, value, _ in rig.sent if topic == "x.events.enriched"]
    assert enriched.message.text == "a [redacted]"


async def test_what_is_read_back_is_redacted_too() -> None:
    log = [
        raw_record(
            event(
                pb.EVENT_TYPE_MCP_CALL_START,
                tenant="ruled",
                span_id="x",
                mcp_call=pb.MCPCall(server_name="secret server"),
            ),
            0,
        ),
        raw_record(
            event(pb.EVENT_TYPE_MCP_CALL_END, tenant="ruled", span_id="x", error=pb.ErrorInfo(error_message="no")), 1
        ),
    ]
    rig = Rig(log, redactor=Redactor(parse_rules(RULES), b""))
    await rig.run(rig.batch(1, 2))
    assert not rig.failed
    assert len(rig.sent) == 2
    headers = rig.sent[0][2]
    assert enrichment_pb2.Enrichment.FromString(headers["enrichment"]).recovered.mcp_server_name == "[redacted] server"
    assert all(b"secret" not in value for _, value, _ in rig.sent)
