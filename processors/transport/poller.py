"""The thread that owns the confluent-kafka consumer: polls, groups by partition, applies backpressure.

librdkafka heartbeats from its own threads, so a busy event loop does not cost the group membership. This thread also keeps
calling poll() while the agent is busy, so ``max.poll.interval.ms`` is not at risk either. The price: a worker whose agent
hangs would stay in the group for ever, so the thread also runs the stall watchdog, which needs no event loop. A second thread
watches over this one: a synchronous call of the client's (a commit while its broker dies) has no timeout.

**Every call on the consumer happens on this thread.** confluent-kafka 2.16 serializes the calls on one Consumer: a
commit() or get_watermark_offsets() from another thread waits, without giving up the GIL, until poll() returned, and the
process hangs. Use :meth:`Poller.submit`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import confluent_kafka
from confluent_kafka import TopicPartition
from faust.types import TP

from processors.transport.client import Client
from processors.transport.exits import EXIT_STALLED
from processors.transport.ledger import Lease
from runtime.kafka_log import kafka_logger

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: A rebalance callback's way to the event loop and back: the leases after it.
Leases = Mapping[TP, Lease]


@dataclass(frozen=True, slots=True)
class Chunk:
    """The records of one partition that one poll returned."""

    lease: Lease
    records: list[Any]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Policy:
    """How the poller behaves; see :class:`processors.transport.options.Options` for the meaning."""

    max_poll_records: int
    hold_seconds: float
    stall_seconds: float
    observe_seconds: float
    leave: Callable[[int, str], Any]
    #: Longest wait of one poll; also how late a command may be served.
    poll_seconds: float = 0.1
    #: How long brokers that were away are asked whether they are back.
    ask_seconds: float = 0.5
    #: How often a second thread looks whether this one is stuck.
    watch_seconds: float = 1.0


class Owner(Protocol):
    """What the poller needs from the Faust consumer. The coroutines run on its event loop."""

    loop: asyncio.AbstractEventLoop

    def assigned(self, tps: set[TP]) -> Coroutine[Any, Any, Leases]: ...
    def revoked(self, tps: set[TP], *, lost: bool) -> Coroutine[Any, Any, Leases]: ...
    def deliver(self, chunks: list[Chunk]) -> None: ...
    def free_records(self) -> int: ...
    def stalled_for(self) -> float: ...
    def fail(self, error: BaseException) -> None: ...
    def brokers(self, problem: str) -> None: ...


class Poller(threading.Thread):
    """See the module. `make_client` gets the callback for errors and returns the consumer; it runs on the caller's thread."""

    def __init__(
        self,
        owner: Owner,
        make_client: Callable[[Callable[[confluent_kafka.KafkaError], None]], Client],
        topics: Iterable[str],
        policy: Policy,
    ) -> None:
        super().__init__(name="kafka-poller", daemon=True)
        self.client = make_client(self._on_error)
        self._owner = owner
        self._topics = list(topics)
        self._policy = policy
        self._leases: Leases = {}
        self._commands: queue.SimpleQueue[tuple[Callable[[], Any], concurrent.futures.Future[Any]] | None]
        self._commands = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._capacity = threading.Event()
        #: What is paused. None after an assignment: librdkafka remembers the pause of a partition that left and came back.
        self._paused: set[TP] | None = set()
        #: Of what something was read under its assignment. Nothing else is ever paused: librdkafka would ask twice where to
        #: start, and when the second answer comes late, begin anew in the middle of reading.
        self._reading: set[TP] = set()
        self._observed_at = 0.0
        #: When this thread last came by, between two calls of the client.
        self._turned_at = time.monotonic()
        self._brokers_down = False

    # ---------------------------------------------------------------- called from the event loop's thread

    def notify_capacity(self) -> None:
        """There may be room again."""
        self._capacity.set()

    def submit(self, command: Callable[[], T]) -> asyncio.Future[T]:
        """Run `command` on this thread: between two polls, or while a rebalance callback waits for the event loop.

        The future fails with RuntimeError when the thread has stopped.
        """
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        if self._stopping.is_set() or not self.is_alive():
            future.set_exception(RuntimeError("the poller has stopped"))
        else:
            self._commands.put((command, future))
            self._capacity.set()
        return asyncio.wrap_future(future)

    def subscribe(self, topics: Iterable[str]) -> asyncio.Future[None]:
        """Change the subscription."""
        names = list(topics)
        return self.submit(lambda: self._subscribe(names))

    def request_stop(self) -> None:
        self._stopping.set()
        self._capacity.set()

    def stuck_for(self) -> float:
        """Seconds since this thread came by; more than a few: the client does not return. 0 once it was told to stop."""
        return 0.0 if self._stopping.is_set() else time.monotonic() - self._turned_at

    def set_leases(self, leases: Leases) -> None:
        self._leases = leases

    # ---------------------------------------------------------------- this thread

    def run(self) -> None:
        self._turned_at = time.monotonic()
        threading.Thread(target=self._watch_over, name="kafka-poller-watch", daemon=True).start()
        try:
            self._subscribe(self._topics)
            while not self._stopping.is_set():
                self._step()
        except BaseException as error:  # noqa: BLE001 - handed to the event loop, where it stops the worker
            if not self._stopping.is_set():
                self._owner.fail(error)
        finally:
            self._stopping.set()
            self._run_commands()
            self.client.close()  # leaves the group at once, so that the others need not wait for the session timeout

    def _subscribe(self, topics: list[str]) -> None:
        self.client.subscribe(topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def _run_commands(self) -> None:
        while not self._commands.empty():
            self._run_command(self._commands.get())

    def _run_command(self, entry: tuple[Callable[[], Any], concurrent.futures.Future[Any]] | None) -> None:
        if entry is None:
            return
        command, future = entry
        try:
            future.set_result(command())
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits the command
            future.set_exception(error)

    def _ask_loop(self, coroutine: Coroutine[Any, Any, Leases]) -> Leases:
        """Run `coroutine` on the event loop and wait; it may submit commands (a revoke commits) meanwhile."""
        answer = asyncio.run_coroutine_threadsafe(coroutine, self._owner.loop)
        answer.add_done_callback(lambda _: self._commands.put(None))
        while not answer.done():
            self._turned_at = time.monotonic()
            try:
                self._run_command(self._commands.get(timeout=1.0))
            except queue.Empty:
                self._watch()
        return answer.result()

    def _step(self) -> None:
        self._turned_at = time.monotonic()
        self._run_commands()
        self._watch()
        self._observe()
        free = self._owner.free_records()
        if free <= 0 and self._paused != self._reading:
            # Waiting costs nothing; pausing would throw away what was prefetched. So wait a little first.
            self._capacity.clear()
            if self._owner.free_records() <= 0 and not self._capacity.wait(self._policy.hold_seconds):
                self._pause(set(self._reading))
            return
        if free > 0:
            self._pause({tp for tp, lease in self._leases.items() if lease.held} & self._reading)
        # consume(n, t) waits the whole t unless n records are there; poll() returns with the first one.
        first = self.client.poll(self._policy.poll_seconds)
        if first is not None:
            more = min(free, self._policy.max_poll_records) - 1
            self._deliver([first, *(self.client.consume(more, 0) if more > 0 else ())])

    def _pause(self, wanted: set[TP]) -> None:
        """From now on exactly `wanted` is paused."""
        known, self._paused = self._paused, wanted
        if known == wanted:
            return
        places = {TP(place.topic, place.partition): place for place in self.client.assignment()}
        pause = [place for tp, place in places.items() if tp in wanted and (known is None or tp not in known)]
        resume = [place for tp, place in places.items() if tp not in wanted and (known is None or tp in known)]
        if pause:
            self.client.pause(pause)
        if resume:
            self.client.resume(resume)

    def _deliver(self, messages: list[Any]) -> None:
        runs: dict[tuple[str, int], list[Any]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                self._on_error(error)
                continue
            key = (message.topic(), message.partition())
            run = runs.get(key)
            if run is None:
                runs[key] = [message]
            else:
                run.append(message)
        chunks: list[Chunk] = []
        for (topic, partition), records in runs.items():
            lease = self._leases.get(TP(topic, partition))
            if lease is None:
                logger.warning("dropped %d records of %s-%d: not assigned", len(records), topic, partition)
                continue
            self._reading.add(lease.tp)
            chunks.append(Chunk(lease, records, sum(map(len, records))))
        if chunks:
            self._owner.deliver(chunks)

    def _observe(self) -> None:
        """Refresh what lag is computed from; librdkafka has the watermarks from its fetches, so they cost no request."""
        now = time.monotonic()
        if now - self._observed_at < self._policy.observe_seconds:
            return
        self._observed_at = now
        if self._brokers_down:
            self._ask_brokers()
        for tp, lease in self._leases.items():
            partition = TopicPartition(tp.topic, tp.partition)
            watermarks = self.client.get_watermark_offsets(partition, cached=True)
            if watermarks is None or watermarks[1] < 0:
                continue
            lease.high_watermark = watermarks[1]

    def learn_committed(self, timeout: float, leases: Leases | None = None) -> None:
        """Ask the broker for the group's offsets of leases that do not know theirs. Blocks; failures leave them unknown."""
        known = self._leases if leases is None else leases
        unknown = {tp: lease for tp, lease in known.items() if lease.committed is None}
        if not unknown:
            return
        wanted = [TopicPartition(tp.topic, tp.partition) for tp in unknown]
        try:
            answers = self.client.committed(wanted, timeout)
        except confluent_kafka.KafkaException as error:
            logger.warning("the group's offsets are not known yet: %s", error)
            return
        self._brokers_answer()
        for answer in answers:
            lease = unknown[TP(answer.topic, answer.partition)]
            if answer.error is None and lease.committed is None:
                lease.committed = max(0, answer.offset)

    def _on_error(self, error: confluent_kafka.KafkaError) -> None:
        if error.fatal():
            raise confluent_kafka.KafkaException(error)
        if error.code() == confluent_kafka.KafkaError._ALL_BROKERS_DOWN:
            self._brokers_down = True
            self._owner.brokers(error.str())
        kafka_logger().warning("consumer: %s", error)

    def _ask_brokers(self) -> None:
        """librdkafka says once that all brokers are away, and never that one is back. Records that come afterwards say nothing:
        they may have been fetched before."""
        try:
            self.client.list_topics(self._topics[0], timeout=self._policy.ask_seconds)
        except confluent_kafka.KafkaException:
            return
        self._brokers_answer()

    def _brokers_answer(self) -> None:
        if self._brokers_down:
            self._brokers_down = False
            self._owner.brokers("")

    def _watch(self) -> None:
        stalled = self._owner.stalled_for()
        if stalled > self._policy.stall_seconds:
            self._policy.leave(EXIT_STALLED, f"no batch finished or committed for {stalled:.0f} s")

    def _watch_over(self) -> None:
        while not self._stopping.wait(self._policy.watch_seconds):
            stuck = self.stuck_for()
            if stuck > self._policy.stall_seconds:
                self._policy.leave(EXIT_STALLED, f"the Kafka client has not returned for {stuck:.0f} s")

    # Rebalance callbacks: librdkafka runs them inside poll(); it waits for us, and so for Faust's hooks. assign() and
    # incremental_assign() follow when the callback returns, so nothing is fetched before Faust's
    # on_partitions_assigned handlers are through.

    def _on_assign(self, client: Any, partitions: list[Any]) -> None:
        if not self._stopping.is_set():
            self._leases = self._ask_loop(self._owner.assigned({TP(p.topic, p.partition) for p in partitions}))
            self._paused = None

    def _on_revoke(self, client: Any, partitions: list[Any]) -> None:
        if not self._stopping.is_set():
            self._revoked({TP(p.topic, p.partition) for p in partitions}, lost=False)

    def _on_lost(self, client: Any, partitions: list[Any]) -> None:
        if not self._stopping.is_set():
            self._revoked({TP(p.topic, p.partition) for p in partitions}, lost=True)

    def _revoked(self, tps: set[TP], *, lost: bool) -> None:
        self._leases = self._ask_loop(self._owner.revoked(tps, lost=lost))
        # When they come back, they must not be paused before they have started.
        self._pause((self._paused or set()) - tps)
        self._reading -= tps
