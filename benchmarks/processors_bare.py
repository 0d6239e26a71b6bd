"""The baseline of ``processors-worker``: the same pure steps in a bare confluent-kafka loop, as a process of its own.

Poll, process, produce, wait for every delivery report, commit; nothing else: no worker life cycle, no backpressure, no
watchdog, no rebuilt window, no metrics. ``PROCESSORS_GROUP`` and ``KAFKA_*`` say where, as for a worker.
"""

from __future__ import annotations

import gc
import signal

from confluent_kafka import Consumer, TopicPartition

from contracts.topics import DEAD_LETTER_MAX_BYTES
from processors import emit
from processors.intake import Headers, RawRecord
from processors.pipeline import Output, PartitionState, process_all
from processors.rebuild import raw_record
from processors.window import Window
from runtime.kafka import durable_producer, producer_config
from runtime.settings import KafkaSettings, ProcessorsSettings, load


class Outbox:
    """Counts delivery reports, as any loop must that commits only what is durable."""

    def __init__(self, kafka: KafkaSettings, settings: ProcessorsSettings) -> None:
        self.outstanding = 0
        self.producer = durable_producer(
            producer_config(
                kafka,
                max_message_bytes=DEAD_LETTER_MAX_BYTES,
                delivery_seconds=60,
                linger_ms=settings.linger_ms,
            )
        )

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        *,
        timestamp_ms: int = 0,
        headers: Headers | None = None,
    ) -> None:
        self.outstanding += 1
        self.producer.produce(topic, value, key, on_delivery=self._report, timestamp=timestamp_ms, headers=headers)

    def _report(self, error: object, _: object) -> None:
        assert error is None, error
        self.outstanding -= 1

    def flush(self) -> None:
        self.producer.flush(60)
        assert not self.outstanding


def main() -> None:
    kafka, settings = load(KafkaSettings), load(ProcessorsSettings)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    consumer = Consumer(
        {
            **kafka.client_config(),
            "group.id": settings.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": 32 * 1024,
        }
    )
    consumer.subscribe([kafka.topics.raw])
    outbox = Outbox(kafka, settings)
    states: dict[int, PartitionState] = {}
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as the worker does
    while True:
        first = consumer.poll(0.1)
        if first is None:
            continue
        batches: dict[int, list[RawRecord]] = {}
        for message in (first, *consumer.consume(settings.batch_records - 1, 0)):
            source = raw_record(message)
            batches.setdefault(source.partition, []).append(source)
        for number, batch in batches.items():
            state = states.setdefault(number, PartitionState(Window(settings.window_offsets)))
            for source, output in process_all(state, batch):
                assert isinstance(output, Output)
                emit.check_size(output.enriched, source)
                emit.emit(outbox, kafka.topics, source, output)
        outbox.flush()
        consumer.commit(
            offsets=[
                TopicPartition(kafka.topics.raw, number, batch[-1].offset + 1) for number, batch in batches.items()
            ],
            asynchronous=False,
        )


if __name__ == "__main__":
    main()
