"""Reading the topic of dead letters: without a group, from its beginning to the end it had at first, nothing committed."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from google.protobuf.message import DecodeError

from contracts.errors import Unavailable
from contracts.v1.dead_letter_pb2 import DeadLetter
from runtime.kafka import reader_config
from runtime.settings import KafkaSettings

#: Longest silence of the brokers, seconds.
READ_SECONDS = 20.0
_CHUNK = 500


class Entry(NamedTuple):
    """A letter, and where it lies on the topic of dead letters."""

    letter: DeadLetter
    partition: int
    offset: int


class LetterLog:
    """The topic as it was when this was opened; may be read several times. Use as a context manager.

    Opening and reading block; each raises Unavailable when the brokers are silent for READ_SECONDS, or without the topic.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._topic = settings.topics.dead_letters
        self._servers = settings.bootstrap_servers
        #: Records that are no letters, in the latest reading.
        self.unreadable = 0
        try:
            self._consumer = Consumer(reader_config(settings, "dlq"))
        except KafkaException as error:
            raise Unavailable(f"Kafka cannot be read: {error}") from None
        try:
            self._bounds = self._find_bounds()
        except BaseException:
            self._consumer.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._consumer.close()

    @property
    def records(self) -> int:
        """How many records there are at most; for a progress bar."""
        return sum(high - low for low, high in self._bounds.values())

    def entries(self) -> Iterator[Entry]:
        """Every letter, one partition after the other, each in order: repeats of a letter included."""
        self.unreadable = 0
        for number, (low, high) in sorted(self._bounds.items()):
            if high > low:
                for message in self._read(number, low, high):
                    try:
                        letter = DeadLetter.FromString(message.value() or b"")
                    except DecodeError:
                        letter = DeadLetter()
                    if letter.dead_letter_id:
                        yield Entry(letter, number, message.offset() or 0)
                    else:
                        self.unreadable += 1

    def _find_bounds(self) -> dict[int, tuple[int, int]]:
        try:
            known = self._consumer.list_topics(self._topic, timeout=READ_SECONDS).topics[self._topic]
            if known.error is not None:
                raise KafkaException(known.error)
            return {
                number: self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), timeout=READ_SECONDS)
                for number in known.partitions
            }
        except KafkaException as error:
            raise self._unavailable(error.args[0]) from None

    def _read(self, number: int, low: int, high: int) -> Iterator[Message]:
        self._consumer.assign([TopicPartition(self._topic, number, low)])
        while True:
            # consume(n, t) waits the whole t unless n records are there; poll() returns with the first one.
            first = self._consumer.poll(READ_SECONDS)
            if first is None:
                raise Unavailable(f"{self._topic}: Kafka at {self._servers} was silent for {READ_SECONDS:.0f} s")
            for message in (first, *self._consumer.consume(_CHUNK, 0)):
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        return
                    if error.retriable() or error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
                        continue
                    raise self._unavailable(error)
                offset = message.offset() or 0
                if offset >= high:
                    return
                yield message
                if offset == high - 1:
                    return

    def _unavailable(self, error: KafkaError) -> Unavailable:
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return Unavailable(f"Kafka at {self._servers} has no topic {self._topic} (KAFKA_TOPIC_PREFIX)")
        return Unavailable(f"Kafka at {self._servers} does not answer: {error.str()}")
