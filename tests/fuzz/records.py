"""Kafka records that nobody of ours wrote, into the pure parts that read them: the processors' steps and the sink's mapping."""

from __future__ import annotations

import random
from collections.abc import Iterable

from chaukas.spec.server.v1.server_pb2 import QueryEventsResponse
from google.protobuf.message import DecodeError

from contracts import headers as h
from contracts.dead_letters import Reason, SourceRecord, Stage
from contracts.dead_letters import build as build_letter
from contracts.topics import Topics
from contracts.v1 import facts_pb2
from processors.emit import emit, emit_dead_letter
from processors.intake import BadRecord, Headers, RawRecord
from processors.pipeline import Output, PartitionState, process_all
from processors.window import Window
from sink.batch import Batch
from sink.prepare import prepare
from sink.query.events import response_bytes
from tests.fuzz.outcomes import Outcomes
from tests.fuzz.wire_shapes import WireShapes
from tests.support.events import event
from tests.support.raw_records import RECEIVED_NS, raw_headers

TOPICS = Topics("fuzz.")
#: Records per batch.
BATCH = 64
_VALUES: tuple[bytes | None, ...] = (
    None, b"", b"\xff", b"\xed\xa0\x80", b"a\x00b", b"0", b"-1", b"9" * 19, b"9" * 30, "٣".encode(), b" 1", b"1e3",
    b"\x1b[31m", b"x" * 5000, b"'", b"chaukas.spec.common.v1.Event", b"\n",
)  # fmt: skip
_NAMES = (
    h.TENANT_ID, h.PROJECT_ID, h.EVENT_ID, h.RECEIVED_AT_NS, h.SCHEMA, h.ENRICHMENT, h.BATCH_ID, h.TRACEPARENT,
    h.REPLAY_OF, h.STAGE, "", "\n", "x" * 300,
)  # fmt: skip


class _Outbox:
    """Takes what the processors produce, as the transport would: gives it back as records."""

    def __init__(self) -> None:
        self.records: list[tuple[str, bytes | None, bytes | None, Headers]] = []

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        *,
        timestamp_ms: int = 0,
        headers: Headers | None = None,
    ) -> None:
        assert timestamp_ms >= 0
        self.records.append((topic, value, key, headers or []))


class RecordFuzzer:
    """Batches of hostile records, by one source of randomness. What the processors make of theirs is what the sink's begin with."""

    def __init__(self, rng: random.Random, shapes: WireShapes, outcomes: Outcomes) -> None:
        self._rng = rng
        self._shapes = shapes
        self._outcomes = outcomes
        self._offset = 0
        self._state = PartitionState(Window(500))
        self._kinds = [event(event_id=f"k{number}", tenant="acme", project="shop") for number in range(5)]
        self._enriched: list[SourceRecord] = []
        self._facts: list[SourceRecord] = []

    def raw_batch(self) -> None:
        """:data:`BATCH` records into the processors' steps: each must end as an output or a letter."""
        records = [self._raw() for _ in range(BATCH)]
        outbox = _Outbox()
        ended = 0
        for record, output in process_all(self._state, records):
            ended += 1
            if isinstance(output, BadRecord):
                emit_dead_letter(outbox, TOPICS, record, output)
                self._outcomes.add("records raw", output.reason.value, f"{output}: {record.value!r}")
            else:
                assert isinstance(output, Output)
                emit(outbox, TOPICS, record, output)
                self._outcomes.add("records raw", "processed")
        if ended != BATCH:
            self._outcomes.defect(f"the steps gave {ended} ends for {BATCH} records")
        self._learn(outbox)

    def sink_batch(self) -> None:
        """:data:`BATCH` records into the sink's mapping: each must end as a row or a letter."""
        batch = Batch()
        for _ in range(BATCH):
            batch.add(self._of_the_sinks_topics(), 0.0)
        prepared = prepare(batch, TOPICS)
        rows = sum(table.rows.num_rows for table in prepared.tables)
        for letter in prepared.letters:
            self._outcomes.add("records sink", letter.reason)
        self._outcomes.counts["records sink", "row"] += BATCH - len(prepared.letters)
        payloads = [raw for table in prepared.tables if table.name == "events" for raw in table.rows["raw"].to_pylist()]
        try:
            QueryEventsResponse.FromString(response_bytes(payloads, ""))
        except DecodeError:
            self._outcomes.defect(f"rows that make a page unreadable: {payloads!r:.2000}")
        if rows + len(prepared.letters) != BATCH:
            self._outcomes.defect(f"{BATCH} records became {rows} rows and {len(prepared.letters)} letters")

    # -- records

    def raw(self, count: int) -> list[RawRecord]:
        """Some records for the raw topic."""
        return [self._raw() for _ in range(count)]

    def others(self, count: int) -> list[SourceRecord]:
        """Some records for the other topics that the sink reads."""
        while not self._enriched:
            self.raw_batch()
        return [self._of_the_sinks_topics() for _ in range(count)]

    def _raw(self) -> RawRecord:
        rng = self._rng
        self._offset += rng.choice((1, 1, 1, 7))
        value: bytes | None = self._shapes.event_value()
        described = self._kinds[0]
        try:
            described = type(described).FromString(value or b"")
        except Exception:
            described = rng.choice(self._kinds)
        headers: list[tuple[str, bytes | None]] = [
            (name, content[:100_000] if content else content) for name, content in raw_headers(described)
        ]
        if rng.random() < 0.3:
            headers = self._damaged(headers)
        if rng.random() < 0.02:
            value = rng.choice((None, b"", b"\x00"))
        key = rng.choice((b"s", b"s", b"s", b"s", b"\xff\x00", b"", None) if rng.random() < 0.1 else (b"s",))
        time_ms = rng.choice((RECEIVED_NS // 10**6, -1, 0, 2**53))
        return RawRecord(TOPICS.raw, 0, self._offset, key, value, headers, time_ms)

    def _damaged(self, headers: list[tuple[str, bytes | None]]) -> list[tuple[str, bytes | None]]:
        rng = self._rng
        headers = list(headers)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(headers) + 1)
            match rng.randrange(4):
                case 0:
                    headers[at : at + 1] = []
                case 1:
                    headers.insert(at, (rng.choice(_NAMES), rng.choice(_VALUES)))
                case 2 if at < len(headers):
                    headers[at] = (headers[at][0], rng.choice(_VALUES))
                case 3 if at < len(headers) and headers[at][1]:
                    headers[at] = (headers[at][0], self._shapes.damaged([headers[at][1] or b""]))
                case _:
                    headers = headers * 2
        return headers[:200]

    def _of_the_sinks_topics(self) -> SourceRecord:
        rng = self._rng
        self._offset += 1
        known = self._enriched if rng.random() < 0.6 or not self._facts else self._facts
        if not known:
            return SourceRecord(TOPICS.enriched, 0, self._offset, b"s", self._shapes.event_value(), (), 0)
        record = rng.choice(known)
        value, headers = record.value, list(record.headers)
        if rng.random() < 0.4:
            value = self._shapes.damaged([value or b"\x00"])
        if rng.random() < 0.3:
            headers = self._damaged(headers)
        if rng.random() < 0.02:
            value = rng.choice((None, b""))
        partition = rng.choice((0, 3, 2**31 - 1) if rng.random() < 0.05 else (0,))
        return record._replace(value=value, headers=tuple(headers), offset=self._offset, partition=partition)

    def _learn(self, outbox: _Outbox) -> None:
        """Keep some of what the processors produced, as examples for the sink."""
        for topic, value, key, headers in outbox.records:
            known = self._enriched if topic == TOPICS.enriched else self._facts
            content: list[tuple[str, bytes | None]] = [
                (name, text.encode() if isinstance(text, str) else text) for name, text in headers
            ]
            record = SourceRecord(topic, 0, 0, key, value, tuple(content), RECEIVED_NS // 10**6)
            if len(known) < 500:
                known.append(record)
            else:
                known[self._rng.randrange(500)] = record
        if not self._facts:
            self._facts = list(_first_facts())


def _first_facts() -> Iterable[SourceRecord]:
    """One record of each of the other topics."""
    handoff = facts_pb2.HandoffFact(handoff_id="h", tenant_id="acme", project_id="shop", session_id="s", revision=1)
    call = facts_pb2.McpCallFact(call_id="c", tenant_id="acme", project_id="shop", session_id="s", revision=1)
    for topic, message in ((TOPICS.handoffs, handoff), (TOPICS.mcp_calls, call)):
        yield SourceRecord(topic, 0, 0, b"s", message.SerializeToString(), (), RECEIVED_NS // 10**6)
    bad = SourceRecord(TOPICS.raw, 0, 7, b"s", b"\xff", ((h.TENANT_ID, b"acme"),), RECEIVED_NS // 10**6)
    letter = build_letter(bad, Stage.PROCESSORS, Reason.UNPARSEABLE, "why")
    yield SourceRecord(TOPICS.dead_letters, 0, 0, b"s", letter.SerializeToString(), (), RECEIVED_NS // 10**6)
