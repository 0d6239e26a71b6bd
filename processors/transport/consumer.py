"""Faust's consumer on top of the poller: hands over batches, follows Faust's rebalance protocol, commits what is done.

What Faust's own bookkeeping does per record (gap intervals, acked lists, reading back the highest consecutive offset) is
replaced by the ledger. In particular Faust's stream acknowledges an event in a ``finally``, also when the agent raised;
that still happens, and means nothing here: :meth:`Consumer._new_offset` looks only at the ledger.

The order that makes "acknowledged" mean "durable":

1. the agent produces a batch's records into its outbox,
2. every delivery report of the outbox is in: ``Batch.done``,
3. the batch and all before it in its partition are done: the lease's committable offset moves,
4. Faust's commit timer (or a revoke, or the stop) commits that offset on the poller's thread.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

import confluent_kafka
from faust.types import TP, ConsumerMessage
from mode import get_logger

from processors.transport.client import Client
from processors.transport.commits import Commits
from processors.transport.ledger import Batch, Lease, Ledger, OffsetWentBack
from processors.transport.options import Abandoned, BatchApp
from processors.transport.poller import Chunk, Leases, Policy, Poller
from runtime.kafka_log import kafka_logger

if TYPE_CHECKING:
    from processors.transport.transport import Transport

logger = get_logger(__name__)

#: A client that does not return for so long waits for brokers.
_STUCK_SECONDS = 10.0


class BatchFailed(Exception):
    """A batch failed more often than allowed, or said that trying again cannot help; the worker stops with a non-zero status."""


class StopWorker(Exception):
    """Raised (or passed to ``Batch.failed``) by an agent: do not acknowledge, do not try again, stop the worker."""


class Consumer(Commits):
    """See the module."""

    logger = logger

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batch_transport = cast("Transport", self.transport)
        self.options = self.batch_transport.options
        self.batch_app = cast(BatchApp, self.app)
        self.ledger = Ledger(self._on_progress, self._on_failed)
        self._brokers_problem = ""
        #: True once partitions (or none) were assigned.
        self.joined = False
        self._handoff: deque[Batch] = deque()
        self._handoff_ready = asyncio.Event()
        self._finished_one = asyncio.Event()
        self._poller: Poller | None = None
        self._posted = self._accepted = 0
        self._generation = 0
        self._progress_at = time.monotonic()

    # ---------------------------------------------------------------- life cycle

    async def subscribe(self, topics: Iterable[str]) -> None:
        if self.app.client_only:
            raise NotImplementedError("this transport has no client-only mode (agent.ask)")
        if self._poller is not None:
            await self._poller.subscribe(topics)
            return
        options = self.options
        policy = Policy(
            max_poll_records=options.max_poll_records,
            hold_seconds=options.hold_seconds,
            stall_seconds=options.stall_seconds,
            observe_seconds=options.observe_seconds,
            leave=options.leave,
        )
        self._poller = Poller(self, self._make_client, topics, policy)
        self._poller.start()

    def _make_client(self, on_error: Callable[[confluent_kafka.KafkaError], None]) -> Client:
        client: Client = confluent_kafka.Consumer(
            {**self.batch_transport.consumer_config(), "error_cb": on_error}, logger=kafka_logger()
        )
        return client

    async def on_stop(self) -> None:
        """Commit what is finished, then leave the group. What the agent still holds is not acknowledged."""
        await super().on_stop()
        if self._poller is not None:
            self._poller.request_stop()
            await self.loop.run_in_executor(None, self._poller.join, 10.0)

    def close(self) -> None:
        """Faust calls this when a rebalance arrives while stopping; :meth:`on_stop` does the work."""

    # ---------------------------------------------------------------- what the poller's thread calls

    def deliver(self, chunks: list[Chunk]) -> None:
        self._posted += sum(len(chunk.records) for chunk in chunks)
        self.loop.call_soon_threadsafe(self._accept, chunks)

    def free_records(self) -> int:
        """How many more records may be read now; at most one poll's worth beyond the limits is ever in flight."""
        ledger, options = self.ledger, self.options
        if ledger.batches >= options.max_inflight_batches or ledger.bytes >= options.max_inflight_bytes:
            return 0
        free: int = options.max_inflight_records - ledger.records - (self._posted - self._accepted)
        return free

    def stalled_for(self) -> float:
        """Seconds without any progress although there is something to do."""
        now = time.monotonic()
        behind = now - self._progress_at if self.ledger.batches else 0.0
        failing = self._commit_failing_since
        return max(behind, now - failing if failing is not None else 0.0)

    def fail(self, error: BaseException) -> None:
        asyncio.run_coroutine_threadsafe(self.crash(error), self.loop)

    def brokers(self, problem: str) -> None:
        self._brokers_problem = problem

    @property
    def brokers_problem(self) -> str:
        """What is wrong with the brokers, for a person; empty: nothing."""
        stuck = self._poller.stuck_for() if self._poller is not None else 0.0
        if stuck > _STUCK_SECONDS:
            return f"the Kafka client has not returned for {stuck:.0f} s"
        return self._brokers_problem

    # ---------------------------------------------------------------- hand-over to Faust's conductor

    def _accept(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            lease = chunk.lease
            self._accepted += len(chunk.records)
            if not self.ledger.batches:
                self._progress_at = time.monotonic()
            try:
                batch = self.ledger.add(lease, chunk.records, chunk.size_bytes)
            except OffsetWentBack as error:
                self.ledger.end([lease.tp])  # commit nothing more of it; a restart reads on from the last commit
                self.loop.create_task(self.crash(error))
                return
            if batch is not None:
                self._handoff.append(batch)
        self._handoff_ready.set()

    def _next_batch(self) -> Batch | None:
        held: list[Batch] = []
        found = None
        while self._handoff and found is None:
            batch = self._handoff.popleft()
            if batch.lease.held:
                held.append(batch)
            elif batch.live and not batch.finished:
                found = batch
        self._handoff.extendleft(reversed(held))
        return found

    async def _drain_messages(self, fetcher: Any) -> None:
        """The body of Faust's Fetcher service."""
        try:
            await self._hand_over(fetcher)
        except asyncio.CancelledError:
            if fetcher.should_stop or self.should_stop or self.app.should_stop:
                return  # leaving in the middle of a rebalance: Faust would take it for a crash, and log one
            raise

    async def _hand_over(self, fetcher: Any) -> None:
        while not (self.should_stop or fetcher.should_stop):
            if not self.flow_active:
                await fetcher.wait(self.can_resume_flow.wait(), timeout=1.0)
                continue
            batch = self._next_batch()
            if batch is None:
                self._handoff_ready.clear()
                await fetcher.wait(self._handoff_ready.wait(), timeout=1.0)
                continue
            batch.message = self._to_message(batch.tp, batch)
            # Runs to its end without suspending: the flow is active and the queue is never full.
            await self.callback(batch.message)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        batch: Batch = record
        timestamp_type, timestamp_ms = batch.records[-1].timestamp()
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            batch.first_offset,
            timestamp_ms / 1000.0,
            timestamp_type,
            [],
            None,
            cast(Any, batch),  # the schema passes it on; Faust itself never looks inside
            None,
            serialized_key_size=0,
            serialized_value_size=batch.size_bytes,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    def _hand_over_again(self) -> None:
        """Empty Faust's queues and queue again, in order, whatever no agent has taken."""
        self.app.flow_control.clear()
        self._handoff = deque(batch for batch in self.ledger.unfinished() if not batch.taken)
        self._handoff_ready.set()

    # ---------------------------------------------------------------- outcomes

    def _on_progress(self) -> None:
        """Callable from any thread, except for its wake-ups, which only the loop's thread waits for."""
        self._progress_at = time.monotonic()
        self._finished_one.set()
        if self._poller is not None:
            self._poller.notify_capacity()

    def _on_failed(self, batch: Batch, error: BaseException) -> None:
        if not batch.live or batch.finished or self.should_stop:
            return
        batch.attempts += 1
        batch.message = None
        batch.lease.held = True
        if isinstance(error, StopWorker):
            self.log.critical("stopping the worker at %r: %s", batch, error)
            self.loop.create_task(self.crash(error))
            return
        if batch.attempts >= self.options.max_attempts:
            self.log.critical("%r failed %d times, stopping the worker: %r", batch, batch.attempts, error)
            self.loop.create_task(self.crash(BatchFailed(repr(batch), repr(error))))
            return
        delay = self.options.retry_seconds * 2 ** (batch.attempts - 1)
        self.log.warning("%r failed, delivering it again in %.1f s: %r", batch, delay, error)
        self.ledger.redeliveries += 1
        self._hand_over_again()
        self.add_future(self._release(batch.lease, batch.first_offset, delay))

    async def _release(self, lease: Lease, offset: int | None = None, delay: float = 0.0) -> None:
        """Prepare a held partition from `offset` on (None: from the group's offset), then let go of it."""

        def working() -> None:
            if lease.ended or self.should_stop:
                raise Abandoned
            self._on_progress()

        await asyncio.sleep(delay)  # also of nothing: the rebalance ends first, so that slow brokers do not prolong it
        prepare = self.batch_app.prepare
        try:
            if offset is None:
                offset = await self._learn_committed(lease)
            if offset is not None and prepare is not None:
                await prepare(lease.tp, lease.number, offset, working)
        except Abandoned:
            return
        except Exception as error:  # noqa: BLE001 - the agent finds that nothing is prepared, and says what fails
            if not self.should_stop:
                self.log.warning("%s-%d could not be prepared: %r", lease.tp.topic, lease.tp.partition, error)
        lease.held = False
        self._handoff_ready.set()
        if self._poller is not None:
            self._poller.notify_capacity()

    async def on_task_error(self, exc: BaseException) -> None:
        """An agent raised (Faust's base class commits here). With concurrency=1 the batch in its hands failed."""
        for batch in self.ledger.unfinished():
            if batch.in_hands and batch.pending is None:
                self._on_failed(batch, exc)

    # ---------------------------------------------------------------- rebalance, on the event loop

    async def assigned(self, tps: set[TP]) -> Leases:
        self._rebalance_starts()
        self.ledger.begin(tps)
        new = [self.ledger.leases[tp] for tp in tps]
        for lease in new:
            lease.held = True
        await self._announce_assignment()
        for lease in new:
            self.add_future(self._release(lease))
        return dict(self.ledger.leases)

    async def revoked(self, tps: set[TP], *, lost: bool) -> Leases:
        self._rebalance_starts()
        if lost:  # another worker owns them already: neither wait nor commit
            self.ledger.end(tps)
        await self.on_partitions_revoked(tps)  # Faust: stops the flow, clears queues, wait_empty(), commits, signals
        self.ledger.end(tps)
        if self.ledger.leases:
            await self._announce_assignment()  # incremental rebalance: the rest goes on at once
        return dict(self.ledger.leases)

    def _rebalance_starts(self) -> None:
        if not self.app.rebalancing:
            self.app.on_rebalance_start()
        self.stop_flow()

    async def _announce_assignment(self) -> None:
        self._generation += 1
        self.app.consumer_generation_id = self._generation
        self._progress_at = time.monotonic()
        await self.on_partitions_assigned(set(self.ledger.leases), self._generation)
        self.joined = True

    async def _learn_committed(self, lease: Lease) -> int | None:
        """The group's offset of a new partition; None when no answer came. Lag needs it too."""
        poller = self._poller
        if poller is None:
            return None
        leases = dict(self.ledger.leases)  # one question for all that came together
        await poller.submit(lambda: poller.learn_committed(5.0, leases))
        return lease.committed

    async def perform_seek(self) -> None:
        """Faust seeks back to the committed offsets after each rebalance, having dropped its queues.

        We kept what was dropped, so nothing is read again.
        """
        self._hand_over_again()

    async def wait_empty(self) -> None:
        """Wait, within limits, until agents finished what they hold; then commit."""
        deadline = time.monotonic() + self.options.drain_seconds
        while waiting := [b for b in self.ledger.unfinished() if b.in_hands and not b.given_up]:
            left = deadline - time.monotonic()
            if left <= 0:
                self.log.warning("giving up waiting for %r: not acknowledged", waiting)
                for batch in waiting:
                    batch.given_up = True  # stopping calls wait_empty() twice
                break
            self._finished_one.clear()
            try:
                await asyncio.wait_for(self._finished_one.wait(), left)
            except TimeoutError:
                pass  # the loop looks at the deadline
        # commit() does nothing when the timer's commit is just under way, and that one may be too old.
        await self.maybe_wait_for_commit_to_finish()
        await self.commit_and_end_transactions()
