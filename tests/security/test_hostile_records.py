"""Records that nobody of ours wrote, on every topic of a real broker: each ends as a dead letter, and the partitions move on."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from typing import Any

from chaukas.spec.common.v1 import events_pb2 as pb
from confluent_kafka import Consumer, Producer, TopicPartition
from google.protobuf.message import DecodeError

from contracts import headers as h
from contracts.topics import Topics
from contracts.v1.dead_letter_pb2 import DeadLetter
from tests.fuzz.outcomes import Outcomes
from tests.fuzz.records import RecordFuzzer
from tests.fuzz.wire_shapes import WireShapes
from tests.support.events import event
from tests.support.raw_records import raw_headers
from tests.support.stack import Client, Stack
from tests.support.waiting import wait_for

TOPICS = Topics()
Headers = list[tuple[str, bytes | None]]


def genuine(stack: Stack, number: int) -> pb.Event:
    endpoints = stack.endpoints
    return event(
        event_id=f"after-{number}", tenant=endpoints.tenant_id, project=endpoints.project_id, session=f"after-{number}"
    )


def never_events() -> list[tuple[bytes | None, bytes | None, Headers]]:
    """Key, value and headers of records that can become nothing but letters, whatever the rest of the topic holds."""
    good = event(event_id="x", tenant="hostile", project="p")
    value, headers = good.SerializeToString(), raw_headers(good)

    def without(name: str) -> Headers:
        return [pair for pair in headers if pair[0] != name]

    def having(name: str, content: bytes | None) -> Headers:
        return [(name, content), *without(name)]

    return [
        (b"s", None, headers),
        (b"s", b"\xff", headers),
        (b"s", value + b"\x0a", headers),
        (b"s", value + b"\x8b\x01" * 5000, headers),
        (b"s", b"\x0a\x01\xff" + value, headers),
        (None, value, headers),
        (b"s", value, []),
        *((b"s", value, without(name)) for name in (h.TENANT_ID, h.PROJECT_ID, h.EVENT_ID, h.RECEIVED_AT_NS, h.SCHEMA)),
        *(
            (b"s", value, having(name, b"\xff\xfe"))
            for name in (h.TENANT_ID, h.PROJECT_ID, h.EVENT_ID, h.RECEIVED_AT_NS, h.SCHEMA)
        ),
        (b"s", value, having(h.TENANT_ID, None)),
        (b"s", value, having(h.TENANT_ID, b"somebody-else")),
        (b"s", value, having(h.EVENT_ID, b"another")),
        (b"s", value, having(h.RECEIVED_AT_NS, b"9" * 30)),
        (b"s", value, having(h.RECEIVED_AT_NS, "\u0663".encode())),
        (b"s", value, having(h.SCHEMA, b"chaukas.spec.common.v2.Event")),
        (b"s", value, [("x" * 1000, b"y" * 1000)] * 50),
    ]


#: A header's name that no client of ours can write, by the one client that does not look: bytes that are no UTF-8.
_ODD_HEADER = """
import asyncio, sys
from aiokafka import AIOKafkaProducer
class Odd(str):
    def encode(self, *_, **__):
        return bytes([0xFF, 0xFE]) + b" odd"
async def main(bootstrap, topic):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    sent = await producer.send_and_wait(topic, bytes([0xFF]), b"s", 0, headers=[(Odd("x"), b"y")])
    await producer.stop()
    print(sent.offset)
asyncio.run(main(*sys.argv[1:]))
"""


def odd_header(bootstrap: str, topic: str) -> int:
    """Produce one to partition 0; its offset."""
    done = subprocess.run(
        [sys.executable, "-c", _ODD_HEADER, bootstrap, topic],
        env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout)


def produce(stack: Stack, records: list[tuple[str, bytes | None, bytes | None, Headers]]) -> set[tuple[str, int, int]]:
    """Onto partition 0 of the topics; the positions."""
    producer = Producer({"bootstrap.servers": stack.endpoints.kafka_bootstrap_servers, "message.max.bytes": 4 << 20})
    places: set[tuple[str, int, int]] = set()

    def report(error: Any, message: Any) -> None:
        assert error is None, error
        places.add((message.topic(), message.partition(), message.offset()))

    for topic, key, value, headers in records:
        given = list[tuple[str, str | bytes | None]](headers)
        producer.produce(topic, value, key, 0, headers=given, on_delivery=report)
        producer.poll(0)
    assert producer.flush(30) == 0
    return places


def letters(stack: Stack) -> dict[tuple[str, int, int], DeadLetter]:
    """Every dead letter there is, by the place of its record; what is no letter is left out."""
    consumer = Consumer({"bootstrap.servers": stack.endpoints.kafka_bootstrap_servers, "group.id": "letters"})
    found: dict[tuple[str, int, int], DeadLetter] = {}
    try:
        topic = TOPICS.dead_letters
        for number in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
            _, end = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
            consumer.assign([TopicPartition(topic, number, 0)])
            while end:
                for message in consumer.consume(1000, timeout=5):
                    if dict(message.headers() or ()).get(h.SCHEMA) == h.DEAD_LETTER_SCHEMA.encode():
                        with contextlib.suppress(DecodeError):  # hostile ones are among them
                            letter = DeadLetter.FromString(message.value() or b"")
                            found[letter.topic, letter.partition, letter.offset] = letter
                    if message.offset() == end - 1:
                        end = 0
    finally:
        consumer.close()
    return found


def test_every_hostile_record_is_a_letter_and_nothing_stops(loud_stack: Stack) -> None:
    stack, topics = loud_stack, TOPICS
    before = {name: stack.pids(name) for name in ("processors", "sink", "gateway")}
    never = never_events()
    records = [(topics.raw, key, value, headers) for key, value, headers in never]
    # Of the enriched topic nothing has the processors' header; of the others, nothing is what it should be.
    records += [(topics.enriched, key, value, headers) for key, value, headers in never]
    records += [(topic, b"s", b"\xff\xff", []) for topic in (topics.handoffs, topics.mcp_calls, topics.dead_letters)]
    records += [(topics.control, key, b"\xff", []) for key in (b"", b"dead_letters_accepted_until/sink", b"\xff")]
    places = produce(stack, records)
    bootstrap = stack.endpoints.kafka_bootstrap_servers
    for topic in (topics.raw, topics.enriched):
        places.add((topic, 0, odd_header(bootstrap, topic)))

    # And whatever else: these may become letters or events.
    source = random.Random(11)
    fuzzer = RecordFuzzer(source, WireShapes(source), Outcomes())
    names = {topic.removeprefix("chaukas."): topic for topic in (spec.name for spec in topics.specs())}
    odd = [(topics.raw, one.key, one.value, list(one.headers)) for one in fuzzer.raw(300)]
    odd += [
        (names[one.topic.removeprefix("fuzz.")], one.key, one.value, list(one.headers)) for one in fuzzer.others(300)
    ]
    # A broker refuses a record without a key on a compacted topic, and so do we not try.
    produce(stack, [one for one in odd if one[0] != topics.control])

    good = [genuine(stack, number) for number in range(40)]
    client = Client(stack)
    try:
        client.send_until_accepted(good)
        client.wait_stored({one.event_id for one in good}, session_id="")
    finally:
        client.close()
    wanted = {place for place in places if place[0] != topics.control}

    def missing() -> bool:
        return not wanted - letters(stack).keys()

    wait_for("a letter for every hostile record", missing, seconds=60, every=1)
    assert {name: stack.pids(name) for name in before} == before, "a process ended"
    assert stack.status().ready
    # What it was, and where: never an error of ours.
    assert "step_failed" not in {letter.reason for letter in letters(stack).values()}


def test_the_next_start_bears_them_too(loud_stack: Stack) -> None:
    """The window is rebuilt from a topic that holds them, and the control topic is read."""
    before = loud_stack.pids("processors")
    loud_stack.signal("processors", signal.SIGKILL)
    loud_stack.wait_restarted("processors", before)
    one = genuine(loud_stack, 1000 + int(time.time()) % 1000)
    client = Client(loud_stack)
    try:
        client.send_until_accepted([one])
        client.wait_stored({one.event_id}, session_id=one.session_id)
    finally:
        client.close()
    loud_stack.wait_ready()  # the event may be stored before its partition's neighbours are read again
