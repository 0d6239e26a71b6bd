"""The sink's loop: one consumer group on everything that becomes rows.

An offset is committed only after the rows before it are stored (and their dead letters acknowledged). The order, per turn
of :meth:`SinkConsumer.turn`:

1. Poll: records go into the open batch together with the offset that follows them; as they come they are mapped (pure), in
   parts.
2. If the running insert is through, take it; a failure that is not the writer's to mend ends the loop here.
3. If the open batch is due (rows, bytes or age) and no insert runs: hand what is mapped of it to the writer's thread (the rest
   stays open; a small one is mapped now), which inserts it with a bounded time per insert, retries what is transient, and isolates and dead-letters what is not.
   A flood of dead letters ends the process here, before anything of the batch is stored.
4. If the open batch is full and the insert still runs: map what is left, so that it follows at once, and open another. If that
   is full as well: pause the partitions and go on polling, so that the group keeps this member; resume when the writer took
   a batch. ClickHouse being away is no more than a long insert: nothing is dropped.
5. Commit the offsets of what 2 took, and let it go, while the next insert runs already. Only here, and in 6, is anything
   committed.
6. On revoke: the open and the mapped batch are forgotten; the running insert gets until the deadline to finish and is then
   committed, else given up without a commit. Whoever gets the partitions reads those records again, and the engine makes
   them one row.

At most three batches are in memory: the open one, the mapped one and the one being inserted, each with its rows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from contracts.topics import Topics
from runtime.health import Readiness
from runtime.kafka_log import kafka_logger
from runtime.logs import get_logger
from runtime.settings import KafkaSettings
from sink.ahead import Ahead
from sink.batch import Batch, BatchPolicy
from sink.flood import FloodGuard
from sink.inserts import Insert, Inserts
from sink.intake import consumer_config, source_records, subscription
from sink.metrics import SinkMetrics
from sink.offsets import Offsets
from sink.prepare import Prepared, prepare
from sink.watchdog import Pulse
from sink.writer import Writer

log = get_logger(__name__)

#: Most records of one poll.
POLL_RECORDS = 2_000
#: Longest wait of one poll, seconds; also how late an insert's end is noticed.
POLL_SECONDS = 0.05
#: A full batch waits this long for the running insert before the partitions are paused, seconds: pausing throws away what
#: librdkafka has fetched ahead.
PAUSE_AFTER_SECONDS = 1.0
#: librdkafka's own default of max.poll.interval.ms.
MAX_POLL_INTERVAL_MS = 300_000
#: How often lag and connection are looked at, seconds.
CHECK_SECONDS = 5.0


class SinkConsumer:
    """See the module's docstring. All methods but :meth:`stop` belong to the thread that calls :meth:`run`."""

    def __init__(
        self,
        consumer: Consumer,
        topics: Topics,
        writer: Writer,
        policy: BatchPolicy,
        metrics: SinkMetrics,
        readiness: Readiness,
        *,
        revoke_seconds: float,
        flood: FloodGuard | None = None,
        pulse: Pulse | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._consumer = consumer
        self._topics = topics
        self._writer = writer
        self._policy = policy
        self._metrics = metrics
        self._readiness = readiness
        self._revoke_seconds = revoke_seconds
        self._clock = clock
        self._wall_ns = wall_ns
        self._stopping = threading.Event()
        self._flood = flood or FloodGuard()
        self._pulse = pulse or Pulse()
        self._inserts = Inserts(writer, self._pulse, clock)
        self._offsets = Offsets(consumer, self._flood, metrics, self._pulse)
        self._batch = Batch()
        self._ahead = Ahead(topics)
        #: A full batch with what it leads to, waiting for the running insert.
        self._mapped: tuple[Batch, Prepared] | None = None
        self._waiting_since: float | None = None
        self._paused = False
        self._next_check = 0.0
        metrics.oldest_unacknowledged_seconds.set_function(self.oldest_unacknowledged_seconds)

    def stop(self) -> None:
        """Ask :meth:`run` to finish: the running insert is awaited and committed. Any thread."""
        self._stopping.set()

    def oldest_unacknowledged_seconds(self) -> float:
        """Time since the oldest record that is read and not stored was read; 0 without one. Any thread."""
        insert, mapped = self._inserts.running, self._mapped
        if insert is not None:
            read_at: float | None = insert.read_at
        else:
            read_at = (mapped[0] if mapped is not None else self._batch).opened_at
        return 0.0 if read_at is None else max(self._clock() - read_at, 0.0)

    def run(self) -> None:
        """Consume until :meth:`stop`. Blocks. Raises KafkaException when the client is beyond recovery."""
        self._readiness.set("kafka", "no partitions assigned yet")
        self._flood.ask_accepted()
        self._consumer.subscribe(
            subscription(self._topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )
        try:
            while not self._stopping.is_set():
                self.turn()
        finally:
            # Closing leaves the group, which revokes: the running insert is finished and committed there.
            self._consumer.close()
            self._inserts.close()

    def turn(self) -> None:
        """One turn of the loop; the numbers are those of the module's docstring."""
        self._pulse.turns += 1
        full = self._policy.is_full(self._batch)
        waiting = self._poll_or_wait(full)  # 1, 4
        stored = self._take_stored()  # 2
        try:
            self._go_on(full, waiting)  # 3, 4
        finally:
            if stored is not None:  # 5
                self._commit_stored(stored)
        if self._clock() >= self._next_check:
            self._check()

    def _go_on(self, full: bool, waiting: float) -> None:
        """3 and 4: the open batch goes into the store, behind the running insert, or waits (`full`, for `waiting` seconds)."""
        if self._inserts.running is None:
            if self._mapped is not None or self._policy.is_due(self._batch, self._clock(), self._inserts.last_seconds):
                self._start_insert()
        elif self._mapped is None and self._policy.is_full(self._batch):
            self._mapped = self._map_batch()
        elif full and waiting >= PAUSE_AFTER_SECONDS:
            self._pause()

    def _poll_or_wait(self, full: bool) -> float:
        """Poll unless the open batch is full; returns for how long a full batch has waited, seconds."""
        if not full:
            self._waiting_since = None
        elif not self._paused:
            if self._waiting_since is None:
                self._waiting_since = self._clock()
            self._inserts.wait(POLL_SECONDS)
            return self._clock() - self._waiting_since
        room = max(self._policy.max_rows - len(self._batch.records), 1)
        messages = self._consumer.consume(min(POLL_RECORDS, room), POLL_SECONDS)
        good = [message for message in messages if message.error() is None]
        now = self._clock()
        self._batch.extend(source_records(good), now)
        self._ahead.advance(self._batch, now)
        if len(good) < len(messages):
            for message in messages:
                if (error := message.error()) is not None:
                    self._on_error(error)
        if good:
            self._pulse.polled += len(good)
            self._pulse.positions |= self._batch.next_offsets
        return 0.0

    def _map_batch(self) -> tuple[Batch, Prepared]:
        """The open batch, whole."""
        batch, self._batch = self._batch, Batch()
        self._waiting_since = None
        return batch, self._ahead.finish(batch)

    def _take_mapped(self) -> tuple[Batch, Prepared]:
        """What of the open batch is mapped; all of it when that is less than a part."""
        batch, self._batch = self._ahead.split(self._batch)
        self._waiting_since = None
        return batch, self._ahead.finish(batch)

    def _start_insert(self) -> None:
        batch, prepared = self._mapped or self._take_mapped()
        self._mapped = None
        self._flood.check(batch.records, prepared.letters)
        self._metrics.batch_records.observe(prepared.records)
        self._inserts.begin(prepared, batch.opened_at)
        self._resume()

    def _take_stored(self) -> Insert | None:
        insert = self._inserts.take()
        if insert is not None:
            # Now: the next batch changes the counts, and they belong to its offsets.
            insert.notes = self._offsets.notes(insert.prepared.next_offsets)
        return insert

    def _commit_stored(self, insert: Insert) -> None:
        self._observe(insert.prepared)
        if not insert.abandon.is_set():
            self._offsets.commit(insert.prepared.next_offsets, insert.notes)

    def _observe(self, prepared: Prepared) -> None:
        for table in prepared.tables:
            if table.name == "resends":
                self._metrics.resends.labels("window").inc(len(table.sources))
            elif table.name == "conflicts":
                self._metrics.conflicts.labels("window").inc(len(table.sources))
        if prepared.received_ns is not None:
            self._metrics.freshness_seconds.observe(max(self._wall_ns() - prepared.received_ns[0], 0) / 1e9)

    def _pause(self) -> None:
        if not self._paused:
            self._consumer.pause(self._consumer.assignment())
            self._paused = True
            self._metrics.paused.set(1)

    def _resume(self) -> None:
        self._waiting_since = None
        if self._paused:
            self._consumer.resume(self._consumer.assignment())
            self._paused = False
            self._metrics.paused.set(0)

    def _on_assign(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        log.info("partitions assigned", partitions=len(partitions))
        self._paused = False
        self._metrics.paused.set(0)
        self._offsets.take_over(partitions)
        self._readiness.set("kafka")

    def _on_revoke(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """6: called inside consume() and close()."""
        finished = self._inserts.wait(self._revoke_seconds)
        if finished and (stored := self._take_stored()) is not None:
            self._commit_stored(stored)
        self._forget(partitions)
        log.info("partitions given away", partitions=len(partitions), insert_finished=finished)

    def _on_lost(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """The group went on without this member: nothing may be committed any more."""
        self._forget(partitions)
        log.warning("partitions lost", partitions=len(partitions))

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        gone = [(partition.topic, partition.partition) for partition in partitions]
        self._batch = self._batch.without(gone)
        self._ahead.forget()
        if self._mapped is not None:
            left = self._mapped[0].without(gone)
            self._mapped = (left, prepare(left, self._topics)) if left.records else None
        self._inserts.give_up()
        self._offsets.forget(gone)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            raise KafkaException(error)
        log.warning("kafka error", code=error.name())

    def on_client_error(self, error: KafkaError) -> None:
        """librdkafka's ``error_cb``."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._readiness.set("kafka", "no broker answers")
            self._next_check = 0.0

    def _check(self) -> None:
        """Every :data:`CHECK_SECONDS`: lag, readiness, commits that failed."""
        self._next_check = self._clock() + CHECK_SECONDS
        self._readiness.set("store", self._writer.problem)
        self._offsets.check()
        if self._readiness.conditions.get("kafka"):
            self._probe()

    def _probe(self) -> None:
        try:
            self._consumer.list_topics(self._topics.enriched, timeout=1.0)
        except KafkaException as error:
            self._readiness.set("kafka", f"no broker answers: {error.args[0].name()}")
        else:
            self._readiness.set("kafka")


def build(
    settings: KafkaSettings,
    group: str,
    writer: Writer,
    policy: BatchPolicy,
    metrics: SinkMetrics,
    readiness: Readiness,
    *,
    revoke_seconds: float,
    flood: FloodGuard | None = None,
    pulse: Pulse | None = None,
    instance: str = "",
) -> SinkConsumer:
    """A SinkConsumer on a real Kafka client; `instance` as in :func:`consumer_config`.

    On a revoke it waits for the running insert at most `revoke_seconds`, and at most half of what the group waits for a poll:
    who takes longer is out of the group, and can commit nothing.
    """
    loop: SinkConsumer | None = None

    def on_error(error: KafkaError) -> None:
        if loop is not None:
            loop.on_client_error(error)

    config = {**consumer_config(settings, group, instance), "error_cb": on_error}
    poll_seconds = int(config.get("max.poll.interval.ms", MAX_POLL_INTERVAL_MS)) / 1000
    consumer = Consumer(config, logger=kafka_logger())
    loop = SinkConsumer(
        consumer,
        settings.topics,
        writer,
        policy,
        metrics,
        readiness,
        revoke_seconds=min(revoke_seconds, poll_seconds / 2),
        flood=flood,
        pulse=pulse,
    )
    return loop
