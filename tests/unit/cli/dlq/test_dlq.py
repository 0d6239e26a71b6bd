"""What the commands decide without Kafka: which letters, counted how, sent where and as what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from typer.testing import CliRunner

from cli.client.usage import WrongUsage
from cli.dlq import options
from cli.dlq.census import Census
from cli.dlq.filters import Filter
from cli.dlq.letters import Entry
from cli.dlq.replay import Todo, _find
from cli.dlq.sending import Resender, destination, why_not
from cli.dlq.show import content, describe, readable
from cli.main import app
from contracts.dead_letters import Reason, SourceRecord, Stage, build
from contracts.topics import Topics
from contracts.v1.dead_letter_pb2 import DeadLetter
from tests.support.events import event
from tests.support.sink_records import enriched_record

TOPICS = Topics("x.")
AT_MS = 1_750_000_000_000


def letter(
    offset: int = 0,
    *,
    stage: Stage = Stage.PROCESSORS,
    reason: Reason = Reason.UNPARSEABLE,
    tenant: str = "t",
    topic: str = TOPICS.raw,
    key: bytes | None = b"k",
    value: bytes | None = b"v",
    headers: Iterable[tuple[str, bytes | None]] = (("n", None), ("m", b"1"), ("m", b"2")),
) -> DeadLetter:
    own = (("tenant_id", tenant.encode()), *headers)
    record = SourceRecord(topic, 3, offset, key, value, own, AT_MS + offset)
    return build(record, stage, reason, "why")


@pytest.mark.parametrize(
    ("chosen", "matches"),
    [
        (Filter(), True),
        (Filter(stage="processors", reasons=frozenset({"unparseable", "x"}), tenant="t", topic="x.events.raw"), True),
        (Filter(stage="sink"), False),
        (Filter(reasons=frozenset({"x"})), False),
        (Filter(tenant=""), False),
        (Filter(topic="x.events"), False),
        (Filter(partition=3), True),
        (Filter(partition=0), False),
        (Filter(since_ns=AT_MS * 10**6, until_ns=AT_MS * 10**6 + 1), True),
        (Filter(since_ns=AT_MS * 10**6 + 1), False),
        (Filter(until_ns=AT_MS * 10**6), False),
    ],
)
def test_every_part_of_a_filter_must_match(chosen: Filter, matches: bool) -> None:
    one = letter()
    assert chosen.matches(one) is matches
    assert replace(chosen, ids=("0000", one.dead_letter_id[:8])).matches(one) is matches
    assert not replace(chosen, ids=("0000",)).matches(one)


def test_wrong_filters_say_why() -> None:
    for given in ({"since": "now", "until": "1h"}, {"ids": ["abc"]}, {"ids": ["not-hex!"]}, {"since": "soon"}):
        nothing: dict[str, Any] = dict.fromkeys(
            ("stage", "reasons", "tenant", "topic", "partition", "since", "until", "ids")
        )
        with pytest.raises(WrongUsage):
            options.chosen(**{**nothing, **given})


def test_repeats_count_once_and_the_newest_are_kept() -> None:
    census = Census(keep=2)
    for offset in (5, 1, 9, 5, 9, 9):
        census.add(Entry(letter(offset, tenant=f"t{offset}"), 0, offset))
    assert (census.letters, census.repeats) == (3, 3)
    assert [row.offset for row in census.newest()] == [9, 5]
    assert census.copies[letter(9).dead_letter_id] == 3
    group = census.groups["processors", "unparseable", "t9"]
    assert (group.letters, group.first_ns, group.last_ns) == (1, (AT_MS + 9) * 10**6, (AT_MS + 9) * 10**6)


@pytest.mark.parametrize(
    ("stage", "topic", "to"),
    [
        (Stage.PROCESSORS, TOPICS.raw, TOPICS.raw),
        (Stage.PROCESSORS, "renamed.events.raw", TOPICS.raw),
        (Stage.SINK, TOPICS.enriched, TOPICS.enriched),
        (Stage.SINK, "renamed.events.enriched", TOPICS.enriched),
        (Stage.SINK, TOPICS.handoffs, TOPICS.handoffs),
        (Stage.SINK, TOPICS.mcp_calls, TOPICS.mcp_calls),
    ],
)
def test_where_a_letter_is_sent(stage: Stage, topic: str, to: str) -> None:
    one = letter(stage=stage, topic=topic)
    assert (destination(one, TOPICS), why_not(one, TOPICS)) == (to, "")


def test_a_withheld_value_can_be_sent() -> None:
    withheld = build(
        SourceRecord(TOPICS.raw, 3, 5, b"k", b"v", (), AT_MS), Stage.PROCESSORS, Reason.TOO_LARGE, "", withhold=True
    )
    assert why_not(withheld, TOPICS) == ""
    shown = describe([Entry(withheld, 0, 0)], TOPICS)
    assert (shown["withheld"], shown["value_bytes"], shown["replays_to"]) == (True, 0, TOPICS.raw)


def test_what_cannot_be_sent() -> None:
    assert why_not(letter(value=None), TOPICS)
    assert why_not(letter(stage=Stage.SINK, topic=TOPICS.dead_letters), TOPICS)


class FakeProducer:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.full = 2
        self.refuses = False
        self.error: KafkaError | None = None

    def produce(self, topic: str, **record: Any) -> None:
        if self.refuses:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        if self.full:
            self.full -= 1
            raise BufferError
        self.sent.append({"topic": topic, **record})

    def poll(self, _seconds: float) -> None:
        """Reports come with the flush."""

    def flush(self, _seconds: float) -> int:
        for record in self.sent[:-1]:
            record["on_delivery"](self.error, None)
        return 1


def test_a_record_is_sent_as_it_was_and_awaited() -> None:
    producer, reports = FakeProducer(), []
    resender = Resender(producer, TOPICS, lambda: reports.append(1))  # type: ignore[arg-type]
    one, other = letter(key=None), letter(1, key=b"", headers=[("replay_of", b"an earlier one"), ("z", b"\xff")])
    for sent in (one, other, letter(2)):
        resender.send(sent)
    resender.finish()
    first, second, _ = producer.sent
    assert (first["topic"], first["key"], first["value"]) == (TOPICS.raw, None, b"v")
    assert "timestamp" not in first
    assert first["headers"] == [
        ("tenant_id", b"t"),
        ("n", None),
        ("m", b"1"),
        ("m", b"2"),
        ("replay_of", one.dead_letter_id.encode()),
    ]
    assert second["key"] == b""
    assert second["headers"][1:] == [("z", b"\xff"), ("replay_of", other.dead_letter_id.encode())]
    assert (dict(resender.delivered), dict(resender.failed)) == ({TOPICS.raw: 2}, {"no answer": 1})
    assert len(reports) == 2


def test_what_the_brokers_refuse_is_counted() -> None:
    producer = FakeProducer()
    producer.full, producer.error = 0, KafkaError(KafkaError._MSG_TIMED_OUT)
    resender = Resender(producer, TOPICS, lambda: None)  # type: ignore[arg-type]
    resender.send(letter())
    resender.send(letter(1))
    producer.refuses = True
    resender.send(letter(2))
    resender.finish()
    assert not resender.delivered
    assert dict(resender.failed) == {"_MSG_TIMED_OUT": 1, "MSG_SIZE_TOO_LARGE": 1, "no answer": 1}


class FakeLog:
    def __init__(self, *letters: DeadLetter) -> None:
        self._letters = letters

    def entries(self) -> Iterable[Entry]:
        return (Entry(one, 0, number) for number, one in enumerate(self._letters))


def test_each_letter_is_replayed_once() -> None:
    log: Any = FakeLog(letter(1), letter(2), letter(1), letter(3, value=None), letter(4, tenant="other"), letter(5))
    todo, _ = _find(log, Filter(tenant="t"), TOPICS, None)
    assert isinstance(todo, Todo)
    assert todo.ids == {letter(number).dead_letter_id for number in (1, 2, 5)}
    assert (dict(todo.topics), dict(todo.skipped)) == ({TOPICS.raw: 3}, {"the letter holds no value": 1})
    limited, _ = _find(log, Filter(), TOPICS, 2)
    assert limited.ids == {letter(number).dead_letter_id for number in (1, 2)}


def test_the_sinks_letters_say_where_the_clients_bytes_are() -> None:
    source = enriched_record(event(event_id="e"), offset=7, partition=1, raw=(2, 99), topics=TOPICS)
    one = build(source, Stage.SINK, Reason.ROW_REFUSED, "table events: ClickHouse error 321")
    shown = describe([Entry(one, 0, 4), Entry(one, 0, 8)], TOPICS)
    assert (shown["topic"], shown["partition"], shown["offset"]) == (TOPICS.enriched, 1, 7)
    assert shown["raw"] == {"topic": TOPICS.raw, "partition": 2, "offset": 99}
    assert shown["copies"] == [{"partition": 0, "offset": 4}, {"partition": 0, "offset": 8}]
    assert shown["replays_to"] == TOPICS.enriched
    (enrichment,) = [header["value"] for header in shown["headers"] if header["name"] == "enrichment"]
    assert enrichment["raw"]["partition"] == 2
    assert "event" not in shown
    assert content(one)["event"]["event_id"] == "e"
    assert content(letter(value=b"\xff\xff")) == {"value_base64": "//8="}


@pytest.mark.parametrize(
    ("value", "shown"), [(b"text", "text"), (b"\x1b[31m", "base64:G1szMW0="), (b"\xff", "base64:/w==")]
)
def test_bytes_are_shown_harmlessly(value: bytes, shown: str) -> None:
    assert readable(value) == shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["accept", "--until", "soon"], "is not a time"),
        (["accept", "--until", "now", "--stage", "gateway"], "processors, sink or all"),
        (["accept", "--until", "1960-01-01"], "before 1970"),
        (["show", "xyz"], "no dead letter's id"),
        (["list", "--since", "now", "--until", "1h"], "nothing could match"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["dlq", *arguments], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert message in done.output


def test_a_kafka_that_does_not_answer_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.dlq.letters.READ_SECONDS", 0.2)
    done = CliRunner().invoke(app, ["dlq", "list"], env={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    assert done.exit_code == 3
    assert done.output.startswith("error: Kafka at 127.0.0.1:1 does not answer")
