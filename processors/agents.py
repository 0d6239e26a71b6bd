"""The agent: batches of raw records in, enriched records, facts and dead letters out.

For each batch, in this order:

1. its partition's window was rebuilt by reading back, when the partition was assigned (:meth:`EnrichAgent.prepare`);
   where that does not lead up to this batch, it is rebuilt now;
2. each record through the steps; a bad record becomes a dead letter and the batch goes on;
3. produce everything into the batch's outbox;
4. declare the batch done when every delivery report is in. Only then may its offsets be committed.

An exception in between is the batch's failure: the transport delivers it again, from a rebuilt window.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from faust.types import TP

from contracts.headers import shown_event_id
from contracts.topics import Topics
from processors import emit
from processors.flood import Flood, FloodOfDeadLetters
from processors.intake import BadRecord, RawRecord
from processors.metrics import Metrics, record_age_seconds
from processors.pipeline import Output, PartitionState, process_all
from processors.rebuild import Reader, raw_record, rebuild
from processors.redact import Redactor
from processors.traces import BatchTrace
from processors.transport import Abandoned, Batch, Outbox, StopWorker
from processors.window import Window
from runtime.logs import get_logger

if TYPE_CHECKING:
    from runtime.spans import Tracing

logger = get_logger(__name__)

#: How many windows are read back at the same time. They compute as much as they wait, and share the interpreter with the
#: batches of other partitions: more make those slower, and themselves no faster.
REBUILDS_AT_ONCE = 2


class Partition:
    """What the agent keeps of one partition under one assignment."""

    __slots__ = ("assignment", "flood", "fresh", "misses", "state")

    def __init__(self, assignment: int, state: PartitionState, flood: Flood) -> None:
        self.assignment = assignment
        #: No batch was processed yet: the first one begins exactly where reading back ended, or reading back is in vain.
        self.fresh = True
        self.state = state
        self.flood = flood
        #: Window misses already counted in the metric.
        self.misses = state.spans.misses

    def leads_to(self, batch: Batch) -> bool:
        """The state is the one before `batch`."""
        end = self.state.next_offset
        if self.assignment != batch.assignment or end < 0:
            return False
        return end == batch.first_offset or (end < batch.first_offset and not self.fresh)


class EnrichAgent:
    """See the module. `outbox` gives a new outbox, `read` reads a partition back (blocking)."""

    def __init__(
        self,
        *,
        topics: Topics,
        window: Window,
        outbox: Callable[[], Outbox],
        read: Reader,
        metrics: Metrics,
        accepted_until_ms: int = 0,
        ask_accepted: Callable[[], int] | None = None,
        redactor: Redactor | None = None,
        tracing: Tracing | None = None,
        group: str = "",
    ) -> None:
        self._tracing = tracing
        self._group = group
        self._topics = topics
        self._window = window
        self._outbox = outbox
        self._read = read
        self._metrics = metrics
        #: Dead letters of records with an earlier Kafka time do not count as a flood, Unix milliseconds.
        self._accepted_until_ms = accepted_until_ms
        #: What holds by now (blocking), asked when a flood is about to stop the worker.
        self._ask_accepted = ask_accepted
        #: None: no rules, nothing is redacted.
        self._redactor = redactor
        self._partitions: dict[int, Partition] = {}
        self._readers = ThreadPoolExecutor(REBUILDS_AT_ONCE, thread_name_prefix="rebuild")

    async def run(self, batches: AsyncIterator[Batch]) -> None:
        """The body of the Faust agent; never raises."""
        async for batch in batches:
            trace = None if self._tracing is None else BatchTrace(self._tracing, batch, self._group)
            try:
                partition = await self._partition(batch)
                outbox = self._outbox()
                self._process(batch, partition, outbox, trace)
                batch.done_after(outbox)
                if trace is not None:
                    batch.pending.add_done_callback(trace)
                batch.pending.add_done_callback(_Freshness(self._metrics, batch.records[-1].timestamp()[1]))
            except FloodOfDeadLetters as flood:
                # Accepted meanwhile: the batch is delivered again, counted anew.
                batch.failed(flood if await self.ask_accepted() else StopWorker(str(flood)))
            except Exception as error:  # noqa: BLE001 - whatever it is, the batch is not acknowledged
                batch.failed(error)
                if trace is not None:
                    trace.failed(error)

    async def ask_accepted(self) -> bool:
        """Learn until when dead letters are accepted; whether that is later than was known."""
        if self._ask_accepted is None:
            return False
        until_ms = await asyncio.to_thread(self._ask_accepted)
        later = until_ms > self._accepted_until_ms
        self._accepted_until_ms = max(until_ms, self._accepted_until_ms)
        return later

    async def _partition(self, batch: Batch) -> Partition:
        known = self._partitions.get(batch.tp.partition)
        if known is None or not known.leads_to(batch):
            # Another assignment, or the batch was half processed and failed, or its records are not where reading goes on.
            def working() -> None:
                if not batch.live:
                    raise Abandoned
                batch.working()

            known = await self._rebuild(batch.tp, batch.assignment, batch.first_offset, working)
        known.fresh = False
        return known

    async def prepare(self, tp: TP, assignment: int, offset: int, working: Callable[[], None]) -> None:
        """The window of a partition that was assigned, before its first batch; see :class:`processors.transport.Prepare`."""
        known = self._partitions.get(tp.partition)
        if known is None or known.assignment != assignment or known.state.next_offset != offset:
            await self._rebuild(tp, assignment, offset, working)

    async def _rebuild(self, tp: TP, assignment: int, offset: int, working: Callable[[], None]) -> Partition:
        self._partitions.pop(tp.partition, None)
        started = time.monotonic()
        state, flood = await asyncio.get_running_loop().run_in_executor(
            self._readers,
            rebuild,
            self._read,
            tp.topic,
            tp.partition,
            offset,
            self._window,
            working,
            self._accepted_until_ms,
            None if self._redactor is None else self._redactor.redact,
        )
        working()  # still ours?
        taken = time.monotonic() - started
        self._metrics.rebuild_seconds.observe(taken)
        logger.info(
            "window rebuilt",
            partition=tp.partition,
            before_offset=offset,
            entries=len(state),
            seconds=round(taken, 3),
        )
        partition = self._partitions[tp.partition] = Partition(assignment, state, flood)
        return partition

    def forget(self, partitions: set[int]) -> None:
        """These partitions were taken away: free their memory."""
        for number in partitions:
            if self._partitions.pop(number, None) is not None:
                self._metrics.window_entries.remove(str(number))

    def _process(self, batch: Batch, partition: Partition, outbox: Outbox, trace: BatchTrace | None) -> None:
        counts = _Counts()
        records: Iterable[RawRecord] = map(raw_record, batch)
        if trace is not None:
            records = trace.watch(records)
        for source, output in process_all(partition.state, records):
            try:
                if isinstance(output, BadRecord):
                    raise output
                emit.check_size(output.enriched, source)
            except BadRecord as bad:
                self._count_towards_flood(partition.flood, bad, source)
                withhold = self._redactor is not None and self._redactor.withholds(source, bad)
                emit.emit_dead_letter(outbox, self._topics, source, bad, withhold=withhold)
                counts.dead_letter(bad, source)
            else:
                partition.flood.good()
                emit.emit(outbox, self._topics, source, output)
                counts.output(output, source)
        counts.publish(self._metrics, batch.tp.partition, outbox.bytes)
        self._metrics.window_entries.labels(str(batch.tp.partition)).set(len(partition.state))
        misses = partition.state.spans.misses
        self._metrics.window_misses.inc(misses - partition.misses)
        partition.misses = misses

    def _count_towards_flood(self, flood: Flood, bad: BadRecord, source: RawRecord) -> None:
        if source.timestamp_ms < self._accepted_until_ms:
            flood.skip()
            return
        flood.bad(bad, source)
        flood.check(source)
        if what := flood.alarm():
            self._metrics.dead_letter_alarms.inc()
            logger.error(
                "one tenant's records cannot be processed",
                what=what,
                partition=source.partition,
                up_to_offset=source.offset,
                reason=bad.reason.value,
            )


class _Counts:
    """One batch's numbers, published once."""

    def __init__(self) -> None:
        self.fates = {"enriched": 0, "resend": 0, "conflict": 0, "dead_letter": 0}
        self.facts: dict[tuple[str, int], int] = {}
        #: By reason: how many, the first one, and its explanation.
        self.letters: dict[str, tuple[int, RawRecord, str]] = {}
        #: The first copy with other content.
        self.conflict: RawRecord | None = None
        self.negative = 0

    def dead_letter(self, bad: BadRecord, source: RawRecord) -> None:
        self.fates["dead_letter"] += 1
        count, first, explanation = self.letters.get(bad.reason.value, (0, source, str(bad)))
        self.letters[bad.reason.value] = (count + 1, first, explanation)

    def output(self, output: Output, source: RawRecord) -> None:
        mark, pairing = output.enriched.mark, output.enriched.pairing
        if mark is None:
            self.fates["enriched"] += 1
        elif mark.resend_of is not None:
            self.fates["resend"] += 1
        else:
            self.fates["conflict"] += 1
            self.conflict = self.conflict or source
        if pairing is not None and pairing.duration_ms < 0:
            self.negative += 1
        for handoff in output.handoffs:
            self._fact("handoff", handoff.revision)
        for call in output.mcp_calls:
            self._fact("mcp_call", call.revision)

    def _fact(self, kind: str, revision: int) -> None:
        self.facts[kind, revision] = self.facts.get((kind, revision), 0) + 1

    def publish(self, metrics: Metrics, partition: int, produced_bytes: int) -> None:
        """Counters, and one log line per reason of dead letters: a flood does not fill the log."""
        for fate, count in self.fates.items():
            metrics.records.labels(fate).inc(count)
        for (kind, revision), count in self.facts.items():
            metrics.facts.labels(kind, str(revision)).inc(count)
        for reason, (count, first, explanation) in self.letters.items():
            metrics.dead_letters.labels(reason).inc(count)
            logger.warning(
                "dead letters",
                reason=reason,
                count=count,
                partition=partition,
                first_offset=first.offset,
                first_event_id=shown_event_id(first.headers),
                explanation=explanation,
            )
        if self.conflict is not None:  # clients can make as many as they like
            logger.debug(
                "conflicting copies",
                count=self.fates["conflict"],
                partition=partition,
                first_offset=self.conflict.offset,
                first_event_id=shown_event_id(self.conflict.headers),
            )
        metrics.negative_durations.inc(self.negative)
        metrics.produced_bytes.inc(produced_bytes)


class _Freshness:
    """Observes how old a batch's last record is when the batch became durable."""

    __slots__ = ("_metrics", "_timestamp_ms")

    def __init__(self, metrics: Metrics, timestamp_ms: int) -> None:
        self._metrics = metrics
        self._timestamp_ms = timestamp_ms

    def __call__(self, _: Any) -> None:
        self._metrics.freshness_seconds.observe(record_age_seconds(self._timestamp_ms))
