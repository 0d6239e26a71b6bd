"""Dead letters of the sink, produced durably."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from contracts.dead_letters import record_headers
from contracts.errors import Unavailable
from contracts.topics import DEAD_LETTER_MAX_BYTES
from contracts.v1.dead_letter_pb2 import DeadLetter
from runtime.kafka import durable_producer, producer_config
from runtime.settings import KafkaSettings

#: Left for key, headers and framing of the Kafka record.
_ENVELOPE_BYTES = 16 * 1024


class LetterProducer:
    """Produces letters and waits for the brokers to have them. Used by one thread at a time."""

    def __init__(self, producer: Producer, topic: str, delivery_seconds: float) -> None:
        self._producer = producer
        self._topic = topic
        self._delivery_seconds = delivery_seconds

    @classmethod
    def connect(cls, settings: KafkaSettings, delivery_seconds: float = 20.0) -> LetterProducer:
        config = producer_config(
            settings, max_message_bytes=DEAD_LETTER_MAX_BYTES, delivery_seconds=delivery_seconds, linger_ms=5
        )
        return cls(durable_producer(config), settings.topics.dead_letters, delivery_seconds)

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Return when every letter is acknowledged. Blocks up to the delivery time. Raises Unavailable; sending again is safe
        because the same failure of the same record is the same letter."""
        failures: list[str] = []

        def report(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failures.append(error.name())

        try:
            for letter in letters:
                self._producer.produce(
                    self._topic,
                    key=letter.key if letter.HasField("key") else None,
                    value=_fitting(letter),
                    headers=list[tuple[str, str | bytes | None]](record_headers(letter)),
                    on_delivery=report,
                )
                self._producer.poll(0)
            missing = self._producer.flush(self._delivery_seconds + 1)
        except (KafkaException, BufferError) as error:
            raise Unavailable(f"dead letters cannot be produced: {error}") from error
        if missing or failures:
            raise Unavailable(f"dead letters were not acknowledged: {', '.join(sorted(set(failures))) or 'no answer'}")

    def close(self) -> None:
        """Forget what is not acknowledged; its records are not committed and will be read again."""
        self._producer.purge()
        self._producer.flush(1)


def _fitting(letter: DeadLetter) -> bytes:
    """The letter's bytes; without the original value if that does not fit into a record (its position still tells it)."""
    data = letter.SerializeToString()
    if len(data) <= DEAD_LETTER_MAX_BYTES - _ENVELOPE_BYTES:
        return data
    short = DeadLetter()
    short.CopyFrom(letter)
    short.ClearField("value")
    short.message = f"{letter.message} (value of {len(letter.value)} bytes left out)"
    return short.SerializeToString()
