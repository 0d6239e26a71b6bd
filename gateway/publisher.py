"""Hands records to Kafka and tells each call when *all* of its records are confirmed.

One durable producer per process. Delivery reports arrive on a thread of their own, which counts them per call and wakes the
event loop once per burst, not once per record. A call's result is known only when every one of its records has been reported
on: success means that Kafka has them all on its in-sync replicas. A producer that reports a fatal error is replaced; its
records fail, their calls are answered as unavailable, and the process goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from contracts.errors import Overloaded, Unavailable
from gateway.admission import NOTHING_ACCEPTED, RETRY_AFTER_SECONDS, Lease
from gateway.draining import Draining
from gateway.metrics import GatewayMetrics
from runtime.kafka import ProduceRefused, durable_producer
from runtime.logs import get_logger

_POLL_SECONDS = 0.1
RESEND = "sending the events again is safe"

log = get_logger(__name__)

#: Names and values of Kafka headers.
Headers = list[tuple[str, str | bytes]]


class ProducerLike(Protocol):
    """What is used of ``confluent_kafka.Producer``."""

    def produce(self, topic: str, value: bytes, **options: Any) -> None: ...
    def poll(self, timeout: float) -> int: ...
    def flush(self, timeout: float) -> int: ...
    def purge(self) -> None: ...
    def list_topics(self, *, timeout: float) -> Any: ...


class Delivery:
    """The records of one call. Called by the producer with each delivery report, on the polling thread.

    `expected` is set once, after the last record; with the GIL, whichever thread writes second sees the other's value, so the
    end is noticed by at least one of them.
    """

    __slots__ = ("_finished", "error", "expected", "failed", "future", "lease", "reports", "sent", "started")

    def __init__(self, future: asyncio.Future[None], lease: Lease, finished: deque[Delivery]) -> None:
        self.future = future
        self.lease = lease
        self.sent = 0
        self.reports = 0
        self.failed = 0
        self.error = ""
        self.expected = -1
        self.started = time.monotonic()
        self._finished = finished

    def __call__(self, error: Any, message: Any) -> None:
        if error is not None:
            self.failed += 1
            self.error = error.name()
        self.reports += 1
        if self.reports == self.expected:
            self._finished.append(self)


class Publisher:
    """Used from the event loop's thread, except where a method says otherwise."""

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        metrics: GatewayMetrics,
        *,
        on_failure: Callable[[str], None] = lambda problem: None,
        draining: Draining | None = None,
        behind_seconds: float = 4.0,
        producer: Callable[[Mapping[str, Any]], Any] = durable_producer,
    ) -> None:
        self.topic = topic
        self._config = {**config, "error_cb": self._on_error}
        self._new_producer = producer
        self._metrics = metrics
        self._on_failure = on_failure
        self._draining = draining or Draining()
        self._behind_seconds = behind_seconds
        #: Calls with records that are not reported on, in the order they came.
        self._open: dict[Delivery, None] = {}
        self._finished: deque[Delivery] = deque()
        self._fatal = threading.Event()
        self._stop = threading.Event()
        self._producer: ProducerLike = producer(self._config)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._poll, name="delivery-reports", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises :class:`Unavailable` while the oldest call waits for Kafka longer than a new one should.

        What is accepted beyond that would not be confirmed in its time either: it would take Kafka's bandwidth, be answered as
        failed, be sent again, and keep everybody's calls from being confirmed.
        """
        oldest = next(iter(self._open), None)
        if oldest is not None and time.monotonic() - oldest.started > self._behind_seconds:
            self._metrics.overloaded.inc()
            raise Unavailable(
                f"Kafka has not confirmed events for {self._behind_seconds:g} seconds; {NOTHING_ACCEPTED}",
                RETRY_AFTER_SECONDS,
            )

    def begin(self, lease: Lease) -> Delivery:
        """A new call's delivery; it holds `lease` until every record is reported on. Ends with :meth:`finish`."""
        lease.hold()
        delivery = Delivery(self._loop.create_future(), lease, self._finished)
        self._open[delivery] = None
        return delivery

    def send(self, delivery: Delivery, value: bytes, key: str, headers: Headers, timestamp_ms: int) -> None:
        """Queue one record. Raises :class:`Overloaded` (the queue is full) or :class:`Unavailable`."""
        try:
            self._producer.produce(
                self.topic, value, key=key, headers=headers, timestamp=timestamp_ms, on_delivery=delivery
            )
        except BufferError:
            self._metrics.overloaded.inc()
            raise Overloaded(f"the queue to Kafka is full; {RESEND}") from None
        except ProduceRefused as error:
            self._failed(error.args[0].name(), 1)
            raise Unavailable(f"Kafka refuses records ({error.args[0].name()}); {RESEND}") from error
        delivery.sent += 1

    def finish(self, delivery: Delivery) -> None:
        """No more records follow, whether or not anybody waits for them."""
        delivery.expected = delivery.sent
        if delivery.reports == delivery.expected:
            self._settle(delivery)

    async def confirm(self, delivery: Delivery, seconds: float) -> None:
        """Wait until all records are confirmed. Raises :class:`Unavailable` when one is not, or not within `seconds`, or not
        before the process must leave.

        After the time is up a record may still be delivered: re-sending it makes a duplicate of the same event id, which is
        stored once.
        """
        try:
            async with self._draining.timeout(seconds):
                await asyncio.shield(delivery.future)
        except TimeoutError:
            raise Unavailable(f"Kafka did not confirm the events in time; {RESEND}") from None
        if delivery.failed:
            raise Unavailable(
                f"Kafka did not confirm {delivery.failed} of {delivery.sent} events ({delivery.error}); {RESEND}"
            )

    def ping(self, timeout_seconds: float) -> str:
        """What keeps Kafka from taking records; empty when nothing is known to. Blocks; for any thread."""
        try:
            topics = self._producer.list_topics(timeout=timeout_seconds).topics
        except ProduceRefused as error:
            return f"Kafka does not answer ({error.args[0].name()})"
        if self.topic not in topics:
            return f"topic {self.topic} does not exist"
        return ""

    def close(self, timeout_seconds: float) -> int:
        """Deliver what is queued and end the thread; returns how many records were left. Blocks up to the timeout."""
        left = self._producer.flush(timeout_seconds)
        self._stop.set()
        self._thread.join(1.0)
        self._wake()
        return left

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(_POLL_SECONDS)
            if self._fatal.is_set():
                self._replace()
            if self._finished:
                self._wake()

    def _wake(self) -> None:
        # A closed loop has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._settle_finished)

    def _settle_finished(self) -> None:
        while self._finished:
            self._settle(self._finished.popleft())

    def _settle(self, delivery: Delivery) -> None:
        if delivery.future.done():
            return
        delivery.future.set_result(None)
        delivery.lease.done()
        del self._open[delivery]
        if delivery.sent:
            self._metrics.delivery_seconds.observe(time.monotonic() - delivery.started)
        if delivery.failed:
            self._failed(delivery.error, delivery.failed)

    def _failed(self, error: str, count: int) -> None:
        self._metrics.undelivered.labels(error).inc(count)
        self._on_failure(f"Kafka did not confirm records ({error})")
        log.warning("records_not_confirmed", error=error, records=count)

    def _on_error(self, error: Any) -> None:
        """On the polling thread: librdkafka's own errors. Only a fatal one needs us; the others it retries itself."""
        if error.fatal():
            log.error("producer_fatal_error", error=error.name())
            self._fatal.set()

    def _replace(self) -> None:
        self._fatal.clear()
        self._metrics.producer_replacements.inc()
        old, self._producer = self._producer, self._new_producer(self._config)
        old.purge()
        old.flush(5.0)  # serves the reports of what was purged: their calls end
