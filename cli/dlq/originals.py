"""The records behind letters that withhold their value: read from where they were, as long as Kafka keeps them."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from contracts.errors import Unavailable
from contracts.v1.dead_letter_pb2 import DeadLetter
from runtime.kafka import reader_config
from runtime.settings import KafkaSettings

#: Longest silence of the brokers, seconds.
READ_SECONDS = 20.0


class Originals:
    """Use as a context manager. The client is made with the first record that is asked for."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._consumer: Consumer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._consumer is not None:
            self._consumer.close()

    def completed(self, letter: DeadLetter) -> DeadLetter | None:
        """`letter` with the value and headers of its record; None when Kafka has deleted that. Blocks. Raises Unavailable."""
        record: Any = self._read(TopicPartition(letter.topic, letter.partition, letter.offset))
        if record is None:
            return None
        whole = DeadLetter()
        whole.CopyFrom(letter)
        whole.value = record.value() or b""
        del whole.headers[:]
        for name, value in record.headers() or ():
            header = whole.headers.add(name=name)
            if value is not None:
                header.value = value
        return whole

    def _read(self, place: TopicPartition) -> Message | None:
        try:
            if self._consumer is None:
                self._consumer = Consumer(reader_config(self._settings, "dlq-originals"))
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(place.topic, place.partition), timeout=READ_SECONDS
            )
            if not low <= place.offset < high:
                return None
            self._consumer.assign([place])
            while True:
                message = self._consumer.poll(READ_SECONDS)
                if message is None:
                    raise Unavailable(f"{place.topic}: Kafka was silent for {READ_SECONDS:.0f} s")
                error = message.error()
                if error is None:
                    return message if message.offset() == place.offset else None
                if error.code() == KafkaError._PARTITION_EOF:
                    return None
                if not error.retriable():
                    raise KafkaException(error)
        except KafkaException as error:
            raise Unavailable(f"{place.topic} cannot be read: {error.args[0].str()}") from None
