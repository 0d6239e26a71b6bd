"""For watchdogs: is there something to read, asked of the brokers by a client of its own, and for how long has nothing changed.

A consumer that hangs cannot be asked: confluent-kafka serializes the calls on one client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported without __all__

from runtime.kafka import admin
from runtime.settings.kafka import KafkaSettings

#: (topic, partition)
Partition = tuple[str, int]
#: Given the next offset to read by partition (None: the first there is): how many records are there that were not read; None
#: when Kafka does not answer. Blocks.
Unread = Callable[[Mapping[Partition, int | None]], int | None]

#: Longest wait for each of Kafka's answers, seconds.
ASK_SECONDS = 5.0


def kafka_unread(settings: KafkaSettings) -> Unread:
    """Asks the brokers; connects with the first question. Blocks for twice ASK_SECONDS at most; never raises."""
    client: AdminClient | None = None

    def unread(positions: Mapping[Partition, int | None]) -> int | None:
        nonlocal client
        client = client or admin(settings)
        try:
            if not positions:
                client.list_topics(timeout=ASK_SECONDS)
            ends = _offsets(client, list(positions), OffsetSpec.latest())  # type: ignore[no-untyped-call]
            new = [partition for partition, position in positions.items() if position is None]
            first = _offsets(client, new, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        except (KafkaException, TimeoutError):
            return None
        return sum(
            max(0, end - (first.get(partition, 0) if positions[partition] is None else positions[partition] or 0))
            for partition, end in ends.items()
        )

    return unread


def _offsets(client: AdminClient, partitions: list[Partition], spec: OffsetSpec) -> dict[Partition, int]:
    if not partitions:
        return {}
    asked = client.list_offsets({TopicPartition(*one): spec for one in partitions}, request_timeout=ASK_SECONDS)
    return {(one.topic, one.partition): future.result(ASK_SECONDS + 1).offset for one, future in asked.items()}


class Since:
    """For how long a value has not changed, in the caller's own time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._value: object = None

    def watch(self, value: object, passed: float) -> float:
        """`passed`: seconds since the last call. Returns the seconds without a change."""
        self.seconds = self.seconds + passed if value == self._value else 0.0
        self._value = value
        return self.seconds
