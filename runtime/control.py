"""Reading and writing the control topic (:mod:`contracts.control`): an operator's word reaches processes on any machine.

Read without a group, to the end, in bounded time; the topic is compacted and holds a few records.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from contracts import control
from contracts.dead_letters import Stage
from contracts.errors import Unavailable
from contracts.topics import CONTROL_MAX_BYTES
from runtime.kafka import durable_producer, producer_config, reader_config
from runtime.settings.kafka import KafkaSettings

logger = logging.getLogger(__name__)

#: Longest time a process spends on reading it, seconds.
READ_SECONDS = 5.0


def read_accepted_until(settings: KafkaSettings, stage: Stage, timeout_seconds: float = READ_SECONDS) -> int:
    """Until when dead letters of `stage` are accepted, Unix milliseconds; 0 when nobody has accepted any.

    Blocks up to the timeout. A topic that does not exist says nothing. Raises Unavailable.
    """
    return _latest(settings, stage, _read(settings, timeout_seconds) or [])


def _latest(settings: KafkaSettings, stage: Stage, records: Iterable[tuple[bytes | None, bytes | None]]) -> int:
    wanted, latest = control.accepted_until_key(stage), 0
    for key, value in records:
        if key == wanted:
            try:
                latest = max(latest, control.parse_time(value))
            except ValueError:
                logger.warning(
                    "%s: the value of %s is no time and is ignored", settings.topics.control, wanted.decode()
                )
    return latest


def accepted_until(settings: KafkaSettings, stage: Stage, setting_ms: int) -> Callable[[], int]:
    """How a process asks: the later of its own setting and the topic's word. Blocks for READ_SECONDS at most, never raises:
    when Kafka does not answer, the setting holds."""

    def ask() -> int:
        try:
            return max(setting_ms, read_accepted_until(settings, stage))
        except Unavailable as error:
            logger.warning("cannot read until when dead letters are accepted: %s", error)
            return setting_ms

    return ask


def accept_until(settings: KafkaSettings, stage: Stage, until_ms: int, timeout_seconds: float = 15.0) -> int:
    """Accept dead letters of `stage` until then; returns what holds now, which is never earlier than before.

    Blocks up to twice the timeout. Raises Unavailable, also when the topic does not exist.
    """
    topic = settings.topics.control
    records = _read(settings, timeout_seconds)
    if records is None:
        raise Unavailable(f"there is no topic {topic} yet; create it with `chaukas-gateway topics ensure`")
    before = _latest(settings, stage, records)
    if before >= until_ms:
        return before
    failures: list[str] = []

    def report(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error.str())

    producer = durable_producer(
        producer_config(settings, max_message_bytes=CONTROL_MAX_BYTES, delivery_seconds=timeout_seconds, linger_ms=0)
    )
    try:
        producer.produce(
            topic,
            key=control.accepted_until_key(stage),
            value=control.format_time(until_ms).encode(),
            on_delivery=report,
        )
        missing = producer.flush(timeout_seconds + 1)
    except (KafkaException, BufferError) as error:
        raise Unavailable(f"{topic} cannot be written: {error}") from error
    if missing or failures:
        raise Unavailable(f"{topic} cannot be written: {', '.join(failures) or 'no answer'}")
    return until_ms


def _read(settings: KafkaSettings, timeout_seconds: float) -> list[tuple[bytes | None, bytes | None]] | None:
    """Keys and values of all records; None without the topic."""
    deadline = time.monotonic() + timeout_seconds
    topic = settings.topics.control
    try:
        consumer = Consumer(reader_config(settings, "control"))
    except KafkaException as error:
        raise Unavailable(f"{topic} cannot be read: {error}") from error
    found: list[tuple[bytes | None, bytes | None]] = []
    try:
        known = consumer.list_topics(topic, timeout=timeout_seconds).topics[topic]
        if known.error is not None:
            if known.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise KafkaException(known.error)
        ends = {number: _end(consumer, topic, number, deadline) for number in known.partitions}
        left = {number for number, (low, high) in ends.items() if high > low}
        consumer.assign([TopicPartition(topic, number, ends[number][0]) for number in left])
        while left:
            message = consumer.poll(max(0.0, deadline - time.monotonic()))
            if message is None:
                raise Unavailable(f"{topic}: no answer in {timeout_seconds:.0f} s")
            problem = message.error()
            if problem is None:
                found.append((message.key(), message.value()))
            elif problem.code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition() or 0)
            elif not problem.retriable() and problem.code() != KafkaError._ALL_BROKERS_DOWN:
                raise KafkaException(problem)
    except KafkaException as error:
        raise Unavailable(f"Kafka at {settings.bootstrap_servers} does not answer: {error}") from error
    finally:
        consumer.close()
    return found


def _end(consumer: Consumer, topic: str, number: int, deadline: float) -> tuple[int, int]:
    left = max(0.1, deadline - time.monotonic())
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=left)
    return low, high
