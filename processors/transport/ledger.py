"""What is in flight, what is finished, what may be committed. Pure bookkeeping: no Kafka, no asyncio.

A :class:`Lease` is one assignment of one partition to this worker. Everything read under a lease hangs on it and dies
with it: after a revoke (or a seek) the lease is *ended*, its batches are stale, and finishing one of them has no effect.
The committable offset of a lease is the end of its unbroken prefix of finished batches, so nothing can be committed past
a batch that nobody finished, whatever happened to that batch.

All methods run on the event loop's thread; the counts may be read from any.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from faust.types import TP

_batch_numbers = itertools.count()
_lease_numbers = itertools.count(1)


class Record(Protocol):
    """The part of ``confluent_kafka.Message`` the ledger needs."""

    def offset(self) -> int: ...


class Sealable(Protocol):
    """The part of an outbox the ledger needs."""

    def delivered(self) -> Any:
        """A future that is done when every record is durable."""
        ...


class OffsetWentBack(Exception):
    """The log was truncated under us: nothing read so far can be trusted to be in order."""


class Batch:
    """The records of one partition that one poll returned: the item an agent receives.

    Iterate it to get ``confluent_kafka.Message`` objects. Call exactly one of :meth:`done`, :meth:`done_after` or
    :meth:`failed`; raising out of the agent is the same as ``failed``. A batch that nobody finishes is never
    acknowledged, stops the worker's intake, and trips the stall watchdog.
    """

    __slots__ = (
        "attempts",
        "finished",
        "first_offset",
        "given_up",
        "lease",
        "message",
        "next_offset",
        "number",
        "pending",
        "records",
        "size_bytes",
    )

    def __init__(self, lease: Lease, records: Sequence[Any], size_bytes: int) -> None:
        self.lease = lease
        self.records = records
        self.size_bytes = size_bytes
        self.first_offset: int = records[0].offset()
        #: Offset to commit once this batch is finished: the last record's plus one.
        self.next_offset: int = records[-1].offset() + 1
        self.number = next(_batch_numbers)
        self.attempts = 0
        self.finished = False
        #: A stop or revoke no longer waits for it.
        self.given_up = False
        #: The delivery future this batch waits for, when the agent called :meth:`done_after`.
        self.pending: Any = None
        #: The Faust message that carries this batch, from its hand-over until it is finished or lost. Not longer: the two hold
        #: each other, and with them the fetched records, until the garbage collector finds them, which is seldom.
        self.message: Any = None

    @property
    def tp(self) -> TP:
        return self.lease.tp

    @property
    def assignment(self) -> int:
        """A number that changes whenever the partition was assigned anew: rebuild partition state when it does."""
        return self.lease.number

    @property
    def live(self) -> bool:
        """False once the partition was taken away: the new owner processes these records."""
        return not self.lease.ended

    @property
    def taken(self) -> bool:
        """True once an agent has received it (Faust flags the message when a stream yields it)."""
        return self.message is not None and bool(self.message.tracked)

    @property
    def in_hands(self) -> bool:
        """True while an agent works on it or its deliveries are outstanding."""
        return self.taken and not self.finished and self.live

    def __iter__(self) -> Iterator[Any]:
        return iter(self.records if self.live else ())

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return f"<Batch {self.tp.topic}-{self.tp.partition} [{self.first_offset}, {self.next_offset})>"

    def done(self) -> None:
        """Everything this batch stands for is durable: its offsets may be committed. Idempotent."""
        self.lease.finish(self)

    def done_after(self, outbox: Sealable) -> None:
        """Finish when every record of `outbox` was delivered; the agent may already take the next batch."""
        self.pending = outbox.delivered()
        self.pending.add_done_callback(self._on_delivered)

    def failed(self, error: BaseException) -> None:
        """Do not acknowledge: the transport delivers it again after a pause, or stops the worker after some attempts."""
        self.pending = None
        self.lease.ledger.on_failed(self, error)

    def working(self) -> None:
        """Tell the stall watchdog that long work on this batch goes on. Callable from any thread."""
        self.lease.ledger.on_progress()

    def _on_delivered(self, future: Any) -> None:
        # A failed delivery ends the process (see producer.py); there is nothing to do for it here.
        if not future.cancelled() and future.exception() is None:
            self.done()


class Lease:
    """One assignment of one partition."""

    __slots__ = (
        "committable",
        "committed",
        "ended",
        "held",
        "high_watermark",
        "inflight",
        "ledger",
        "next_fetch",
        "number",
        "tp",
    )

    def __init__(self, ledger: Ledger, tp: TP) -> None:
        self.ledger = ledger
        self.tp = tp
        self.number = next(_lease_numbers)
        self.inflight: deque[Batch] = deque()
        #: End of the finished prefix; None when nothing was finished under this lease.
        self.committable: int | None = None
        #: What the broker has, as far as known; None when unknown.
        self.committed: int | None = None
        #: Offset the next fetched record must at least have; -1 before the first.
        self.next_fetch = -1
        #: End of the partition as last seen; None when unknown.
        self.high_watermark: int | None = None
        #: Being prepared, or waiting before a failed batch is delivered again: nothing of this partition is read or handed
        #: over.
        self.held = False
        self.ended = False

    @property
    def lag(self) -> int | None:
        """Records not committed; None when unknown."""
        if self.high_watermark is None or self.committed is None:
            return None
        return max(0, self.high_watermark - self.committed)

    def finish(self, batch: Batch) -> None:
        if batch.finished or self.ended:
            return
        batch.finished = True
        batch.message = None
        while self.inflight and self.inflight[0].finished:
            self.committable = self.inflight.popleft().next_offset
        self.ledger.released(batch)


class Ledger:
    """The leases of this worker, and how much is in flight under them."""

    def __init__(self, on_progress: Callable[[], None], on_failed: Callable[[Batch, BaseException], None]) -> None:
        self.leases: dict[TP, Lease] = {}
        #: In flight now.
        self.records = self.bytes = self.batches = 0
        #: Since the start.
        self.records_finished = self.batches_finished = self.redeliveries = self.commit_failures = 0
        self.on_progress = on_progress
        self.on_failed = on_failed

    def begin(self, tps: Iterable[TP]) -> None:
        """New leases; an old one of the same partition ends."""
        for tp in tps:
            if tp in self.leases:
                self.end([tp])
            self.leases[tp] = Lease(self, tp)

    def end(self, tps: Iterable[TP]) -> None:
        for tp in tps:
            lease = self.leases.pop(tp, None)
            if lease is not None:
                lease.ended = True
                for batch in lease.inflight:
                    batch.message = None
                    if not batch.finished:
                        self._subtract(batch)
                lease.inflight.clear()
        self.on_progress()

    def add(self, lease: Lease, records: Sequence[Any], size_bytes: int) -> Batch | None:
        """A new batch in flight; None when its lease ended meanwhile. Raises :class:`OffsetWentBack`."""
        if lease.ended:
            return None
        batch = Batch(lease, records, size_bytes)
        if batch.first_offset < lease.next_fetch:
            raise OffsetWentBack(f"{batch!r}, expected {lease.next_fetch} or more")
        lease.next_fetch = batch.next_offset
        lease.inflight.append(batch)
        self.records += len(records)
        self.bytes += size_bytes
        self.batches += 1
        return batch

    def released(self, batch: Batch) -> None:
        self._subtract(batch)
        self.records_finished += len(batch)
        self.batches_finished += 1
        self.on_progress()

    def _subtract(self, batch: Batch) -> None:
        self.records -= len(batch)
        self.bytes -= batch.size_bytes
        self.batches -= 1

    def unfinished(self) -> list[Batch]:
        """Every batch in flight that nobody finished, in the order it was read."""
        found = [batch for lease in self.leases.values() for batch in lease.inflight if not batch.finished]
        found.sort(key=lambda batch: batch.number)
        return found
