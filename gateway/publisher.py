"""Hands records to Kafka and tells each call when *all* of its records are confirmed.

One durable producer per process. Delivery reports are taken by the event loop itself, in bursts, while calls wait for them: a
thread of its own would have to be given the interpreter once per record (docs/adr/0024-reports-on-the-loop.md). A call's result
is known only when every one of its records has been reported on: success means that Kafka has them all on its in-sync replicas.
A producer that reports a fatal error is replaced; its records fail, their calls are answered as unavailable, and the process
goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from contracts.errors import Overloaded, Unavailable
from gateway.admission import NOTHING_ACCEPTED, RETRY_AFTER_SECONDS, Lease
from gateway.draining import Draining
from gateway.metrics import GatewayMetrics
from runtime.kafka import ProduceRefused, durable_producer
from runtime.logs import get_logger

#: How often reports are looked for while calls wait for some, and while none does (then for librdkafka's errors), seconds.
_BUSY_SECONDS, _IDLE_SECONDS = 0.001, 0.1
#: How long the reports of a replaced producer's records are looked for, seconds.
_RETIRE_SECONDS = 5.0
RESEND = "sending the events again is safe"

log = get_logger(__name__)

#: Names and values of Kafka headers, in order.
Headers = dict[str, str | bytes]
#: Value, key, headers.
Record = tuple[bytes, str, Headers]
#: No partition is asked for: the key decides.
_BY_KEY = -1


class ProducerLike(Protocol):
    """What is used of ``confluent_kafka.Producer``."""

    def produce(self, *topic_value_key_partition_callback_none_timestamp_headers: Any) -> None: ...
    def poll(self, timeout: float) -> int: ...
    def flush(self, timeout: float) -> int: ...
    def purge(self) -> None: ...
    def list_topics(self, *, timeout: float) -> Any: ...


class Delivery:
    """The records of one call, and who waits for them."""

    __slots__ = (
        "_finished",
        "error",
        "expected",
        "failed",
        "future",
        "lease",
        "open",
        "report",
        "reports",
        "sent",
        "started",
    )

    def __init__(self, future: asyncio.Future[None], lease: Lease, finished: deque[Delivery]) -> None:
        #: Done when every record is reported on, or nobody shall wait for that any more.
        self.future = future
        self.lease = lease
        #: Records may be without a report.
        self.open = True
        self.sent = 0
        self.reports = 0
        self.failed = 0
        self.error = ""
        #: Known once no more records follow.
        self.expected = -1
        self.started = time.monotonic()
        self._finished = finished
        #: For each record's report. Bound once, not once per record.
        self.report = self._report

    def _report(self, error: Any, message: Any) -> None:
        if error is not None:
            self.failed += 1
            self.error = error.name()
        self.reports += 1
        if self.reports == self.expected:
            self._finished.append(self)

    def stop_waiting(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


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
        self._draining.on_give_up(self._give_up)
        self._behind_seconds = behind_seconds
        #: Calls with records that are not reported on, in the order they came.
        self._open: dict[Delivery, None] = {}
        self._finished: deque[Delivery] = deque()
        self._fatal = False
        self._producer: ProducerLike = producer(self._config)
        #: Replaced, with the time until which their reports are looked for.
        self._retired: list[tuple[ProducerLike, float]] = []
        self._loop = asyncio.get_running_loop()
        #: Whoever takes reports holds it: the counts of a delivery are not made for two threads at once.
        self._taking = threading.Lock()
        self._closed = False
        self._timer = self._loop.call_later(_IDLE_SECONDS, self._take_reports)
        self._busy = False
        metrics.follow(metrics.oldest_unacknowledged_seconds, self.oldest_seconds)

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

    def oldest_seconds(self) -> float:
        """Age of the oldest call whose records are not all reported on; 0 without one."""
        oldest = next(iter(self._open), None)
        return 0.0 if oldest is None else time.monotonic() - oldest.started

    def begin(self, lease: Lease) -> Delivery:
        """A new call's delivery; it holds `lease` until every record is reported on. Ends with :meth:`finish`."""
        lease.hold()
        delivery = Delivery(self._loop.create_future(), lease, self._finished)
        self._open[delivery] = None
        if not self._busy:
            self._come_again()
        return delivery

    def send(self, delivery: Delivery, records: Iterable[Record], timestamp_ms: int) -> None:
        """Queue records, in order. Raises :class:`Overloaded` (the queue is full) or :class:`Unavailable`; those before are queued.

        confluent-kafka's ``produce_batch`` would take them in one call, but it drops headers and refuses timestamps.
        """
        produce, topic, report = self._producer.produce, self.topic, delivery.report
        sent = 0
        try:
            for value, key, headers in records:
                # By position: naming its arguments costs a record a quarter more.
                produce(topic, value, key, _BY_KEY, report, None, timestamp_ms, headers)
                sent += 1
        except BufferError:
            self._metrics.overloaded.inc()
            raise Overloaded(f"the queue to Kafka is full; {RESEND}") from None
        except ProduceRefused as error:
            self._failed(error.args[0].name(), 1)
            raise Unavailable(f"Kafka refuses records ({error.args[0].name()}); {RESEND}") from error
        finally:
            delivery.sent += sent

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
        if delivery.open:
            seconds = 0.0 if self._draining.gave_up else seconds
            timer = self._loop.call_later(seconds, delivery.stop_waiting)
            try:
                await delivery.future
            finally:
                timer.cancel()
            if delivery.open:
                delivery.future = self._loop.create_future()
                raise Unavailable(f"Kafka did not confirm the events in time; {RESEND}")
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
        """Deliver what is queued; returns how many records were left. Blocks up to the timeout; for any thread."""
        with self._taking:
            left = self._producer.flush(timeout_seconds)
            self._closed = True
        # A closed loop has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end)
        return left

    def _end(self) -> None:
        self._timer.cancel()
        self._settle_finished()

    def _take_reports(self) -> None:
        """The reports that are there; then comes again, soon while calls wait for more."""
        try:
            # Held by close() alone, which takes them all.
            if self._taking.acquire(blocking=False):
                try:
                    self._producer.poll(0)
                    for producer, _ in self._retired:
                        producer.poll(0)
                finally:
                    self._taking.release()
            if self._retired:
                self._let_go()
            if self._fatal:
                self._replace()
        finally:
            self._settle_finished()
            self._come_again()

    def _come_again(self) -> None:
        self._timer.cancel()
        self._busy = bool(self._open or self._retired)
        if not self._closed:
            self._timer = self._loop.call_later(_BUSY_SECONDS if self._busy else _IDLE_SECONDS, self._take_reports)

    def _settle_finished(self) -> None:
        while self._finished:
            self._settle(self._finished.popleft())

    def _settle(self, delivery: Delivery) -> None:
        if not delivery.open:
            return
        delivery.open = False
        del delivery.report  # it holds the delivery, which would wait for the garbage collector
        delivery.stop_waiting()
        delivery.lease.done()
        del self._open[delivery]
        if delivery.sent:
            self._metrics.delivery_seconds.observe(time.monotonic() - delivery.started)
        if delivery.failed:
            self._failed(delivery.error, delivery.failed)

    def _give_up(self) -> None:
        for delivery in self._open:
            delivery.stop_waiting()

    def _failed(self, error: str, count: int) -> None:
        self._metrics.undelivered.labels(error).inc(count)
        self._on_failure(f"Kafka did not confirm records ({error})")
        log.warning("records_not_confirmed", error=error, records=count)

    def _on_error(self, error: Any) -> None:
        """librdkafka's own errors, while reports are taken. Only a fatal one needs us; the others it retries itself."""
        if error.fatal():
            log.error("producer_fatal_error", error=error.name())
            self._fatal = True

    def _replace(self) -> None:
        self._fatal = False
        self._metrics.producer_replacements.inc()
        old, self._producer = self._producer, self._new_producer(self._config)
        self._retired.append((old, time.monotonic() + _RETIRE_SECONDS))
        # Every record of it gets its report: their calls end. On a thread, because it waits for librdkafka's.
        threading.Thread(target=old.purge, name="purge", daemon=True).start()

    def _let_go(self) -> None:
        """Producers whose time is over; they end on a thread, because that takes a while."""
        now = time.monotonic()
        over = [producer for producer, until in self._retired if until <= now]
        if over:
            self._retired = [entry for entry in self._retired if entry[1] > now]
            threading.Thread(target=over.clear, name="let-go", daemon=True).start()
