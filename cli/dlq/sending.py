"""Sending dead-lettered records again: where each goes, as what, and whether it arrived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from contracts import headers as h
from contracts.dead_letters import Stage
from contracts.topics import DEAD_LETTER_MAX_BYTES, Topics
from contracts.v1.dead_letter_pb2 import DeadLetter
from runtime.kafka import durable_producer, producer_config
from runtime.settings import KafkaSettings

#: A record's longest way to its delivery report, seconds.
DELIVERY_SECONDS = 30.0


def destination(letter: DeadLetter, topics: Topics) -> str:
    """Letters of the sink go back to the topic the sink read (enriched, or a topic of facts), all others to raw."""
    if letter.stage != Stage.SINK.value:
        return topics.raw
    return letter.topic if letter.topic in (topics.handoffs, topics.mcp_calls) else topics.enriched


def why_not(letter: DeadLetter, topics: Topics) -> str:
    """Why this letter cannot be sent again; '' when it can."""
    if not (letter.value or letter.withheld):
        return "the letter holds no value"
    if letter.stage == Stage.SINK.value and letter.topic == topics.dead_letters:
        return "the record was itself on the topic of dead letters"
    return ""


def record_headers(letter: DeadLetter) -> list[tuple[str, str | bytes | None]]:
    """The record's own headers, and the letter it was. One of an earlier replay is replaced."""
    own: list[tuple[str, str | bytes | None]] = [
        (header.name, header.value if header.HasField("value") else None)
        for header in letter.headers
        if header.name != h.REPLAY_OF
    ]
    return [*own, (h.REPLAY_OF, letter.dead_letter_id.encode())]


class Resender:
    """Produces records durably; counts what the brokers confirmed. `on_report` is called once for each."""

    def __init__(self, producer: Producer, topics: Topics, on_report: Callable[[], None]) -> None:
        self._producer = producer
        self._topics = topics
        self._on_report = on_report
        self.delivered: Counter[str] = Counter()
        #: By the broker's reason.
        self.failed: Counter[str] = Counter()

    @classmethod
    def connect(cls, settings: KafkaSettings, on_report: Callable[[], None]) -> Resender:
        config = producer_config(
            settings, max_message_bytes=DEAD_LETTER_MAX_BYTES, delivery_seconds=DELIVERY_SECONDS, linger_ms=5
        )
        return cls(durable_producer({"log_level": 0, **config}), settings.topics, on_report)

    def send(self, letter: DeadLetter) -> None:
        """Hand a record over; blocks while the producer's queue is full. The partition follows from the key, as at first; the
        time is that of now, so that no retention by time takes it at once."""
        topic = destination(letter, self._topics)

        def report(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                self.delivered[topic] += 1
            else:
                self.failed[error.name()] += 1
            self._on_report()

        while True:
            try:
                self._producer.produce(
                    topic,
                    key=letter.key if letter.HasField("key") else None,
                    value=letter.value,
                    headers=record_headers(letter),
                    on_delivery=report,
                )
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                self.failed[error.args[0].name()] += 1
                self._on_report()
                return
            else:
                self._producer.poll(0)
                return

    def is_gone(self, letter: DeadLetter) -> None:
        """Count a letter that withholds its value, whose record Kafka has deleted."""
        self.failed[f"the record is no longer on {letter.topic}, and its letter withholds the value"] += 1
        self._on_report()

    def finish(self) -> None:
        """Return when every record has its report. Blocks for the delivery time at most; what has none then has failed."""
        left = self._producer.flush(DELIVERY_SECONDS + 5)
        if left:
            self.failed["no answer"] += left

    def abandon(self) -> None:
        """Send nothing more; what is on its way may still arrive."""
        self._producer.purge(in_flight=False)
        self._producer.flush(5)
