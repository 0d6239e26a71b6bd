"""Faust's producer on confluent-kafka, with an outbox per batch that knows when all its records are durable.

A failed delivery ends the process (:data:`EXIT_DELIVERY_FAILED`): the supervisor restarts it and it goes on from the last
commit. Going on in the same process would let records of later batches overtake the ones that failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, cast

import confluent_kafka
from faust.transport import base
from faust.types import TP, RecordMetadata
from mode import get_logger

from processors.transport.exits import EXIT_DELIVERY_FAILED
from runtime.kafka_log import kafka_logger

if TYPE_CHECKING:
    from processors.transport.transport import Transport

logger = get_logger(__name__)

#: Seconds between two looks at delivery reports while some are outstanding.
PUMP_SECONDS = 0.001


class DeliveryFailed(Exception):
    """The broker did not take a record, after all of librdkafka's retries."""


class Outbox:
    """The records one batch produced."""

    __slots__ = ("_error", "_future", "_on_report", "_outstanding", "_produce", "_producer", "bytes", "records")

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._produce = producer.client.produce
        self._on_report = self._on_delivery  # bound once: one object per record less
        self._outstanding = 0
        self._error: DeliveryFailed | None = None
        self._future: asyncio.Future[None] | None = None
        #: What was sent so far.
        self.records = 0
        self.bytes = 0

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        *,
        timestamp_ms: int = 0,
        headers: list[tuple[str, str | bytes | None]] | None = None,
    ) -> None:
        """Queue one record. The partition follows from the key (murmur2); `timestamp_ms` 0 is now.

        Blocks the event loop while librdkafka's queue is full: that is the backpressure of brokers slower than we are.
        Raises KafkaException for a record larger than the client's ``message.max.bytes``.
        """
        self._outstanding += 1
        while True:
            try:
                self._produce(topic, value, key, on_delivery=self._on_report, timestamp=timestamp_ms, headers=headers)
                break
            except BufferError:
                self._producer.client.poll(0.05)
            except BaseException:
                self._outstanding -= 1
                raise
        self.records += 1
        self.bytes += len(value or b"")

    def delivered(self) -> asyncio.Future[None]:
        """Seal the outbox: a future that is done when every record is delivered, or fails with :class:`DeliveryFailed`."""
        if self._future is None:
            self._producer.client.poll(0)  # before the future exists, so that the reports it serves cannot resolve it
            del self._on_report  # it holds the outbox, which would wait for the garbage collector
            self._future = self._producer.loop.create_future()
            if self._outstanding:
                self._producer.track(self._future)
            else:
                self._resolve()
        return self._future

    def _on_delivery(self, error: Any, message: Any) -> None:
        self._outstanding -= 1
        if error is not None and self._error is None:
            self._error = DeliveryFailed(f"{message.topic()}: {error}")
            self._producer.delivery_failed(self._error)
        if not self._outstanding and self._future is not None and not self._future.done():
            self._resolve()

    def _resolve(self) -> None:
        assert self._future is not None
        if self._error is None:
            self._future.set_result(None)
        else:
            self._future.set_exception(self._error)
            self._future.exception()  # seen: the process is leaving, nobody needs to await it


class Producer(base.Producer):
    """One confluent-kafka producer per worker."""

    logger = logger

    client: confluent_kafka.Producer

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pending: set[asyncio.Future[Any]] = set()
        self._pump: asyncio.Task[None] | None = None

    @property
    def batch_transport(self) -> Transport:
        return cast("Transport", self.transport)

    def outbox(self) -> Outbox:
        return Outbox(self)

    async def on_start(self) -> None:
        await super().on_start()
        self.client = confluent_kafka.Producer(self.batch_transport.producer_config(), logger=kafka_logger())

    async def on_stop(self) -> None:
        await super().on_stop()
        client = getattr(self, "client", None)
        if client is not None:
            await self.loop.run_in_executor(None, client.flush, self.batch_transport.options.drain_seconds)

    def delivery_failed(self, error: DeliveryFailed) -> None:
        self.batch_transport.options.leave(EXIT_DELIVERY_FAILED, f"a record was not delivered: {error}")

    # Delivery reports are served on the event loop's own thread. In a thread of their own, every single report would
    # have to win the GIL from a busy agent (up to 5 ms each); here they cost about 0.3 microseconds.

    def track(self, future: asyncio.Future[Any]) -> None:
        """Serve delivery reports until `future` is done."""
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        if self._pump is None or self._pump.done():
            self._pump = self.loop.create_task(self._serve_reports())

    async def _serve_reports(self) -> None:
        while self._pending:
            self.client.poll(0)
            await asyncio.sleep(PUMP_SECONDS)

    # ---------------------------------------------------------------- Faust's producer interface

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        """One record, with a future: what Faust's own ``topic.send()`` uses."""
        future: asyncio.Future[RecordMetadata] = self.loop.create_future()

        def report(error: Any, message: Any) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(DeliveryFailed(f"{topic}: {error}"))
                return
            tp = TP(topic, message.partition())
            kind, milliseconds = message.timestamp()
            future.set_result(RecordMetadata(topic, tp.partition, tp, message.offset(), milliseconds / 1000.0, kind))

        pairs = list(headers.items()) if isinstance(headers, dict) else headers
        while True:
            try:
                self.client.produce(
                    topic,
                    value,
                    key,
                    -1 if partition is None else partition,
                    on_delivery=report,
                    timestamp=int(timestamp * 1000) if timestamp else 0,
                    headers=pairs or None,
                )
                break
            except BufferError:
                self.client.poll(0)
                await asyncio.sleep(0.01)
        self.track(future)
        return future

    async def send_and_wait(self, *args: Any, **kwargs: Any) -> RecordMetadata:
        return await (await self.send(*args, **kwargs))

    async def flush(self) -> None:
        """Wait, up to `drain_seconds`, for everything sealed or sent so far.

        Faust calls it when partitions leave and at the stop; before commits too, where nothing depends on it.
        """
        await self.buffer.flush()
        if self._pending:
            await asyncio.wait(set(self._pending), timeout=self.batch_transport.options.drain_seconds)

    def key_partition(self, topic: str, key: bytes) -> TP:
        raise NotImplementedError("librdkafka partitions when it sends")

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        await self.app.consumer.create_topic(*args, **kwargs)

    def supports_headers(self) -> bool:
        return True
