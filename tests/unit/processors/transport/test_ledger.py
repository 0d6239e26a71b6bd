"""What may be committed: random schedules against a model."""

from __future__ import annotations

import asyncio
import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from processors.transport.ledger import Batch, Lease, Ledger, OffsetWentBack
from tests.unit.processors.transport.fakes import FakeMessage

TP0 = TP("raw", 0)


def records(first: int, count: int) -> list[FakeMessage]:
    return [FakeMessage(first + number) for number in range(count)]


class Schedule(RuleBasedStateMachine):
    """One partition that is read, finished in any order, failed, revoked and assigned again."""

    lease: Lease

    @initialize()
    def begin(self) -> None:
        self.progress = 0
        self.failures: list[Batch] = []
        self.ledger = Ledger(self._progressed, lambda batch, error: self.failures.append(batch))
        self.ledger.begin([TP0])
        self.lease = self.ledger.leases[TP0]
        self.committed = 0
        self.next = 0
        self.open: list[Batch] = []
        self.stale: list[Batch] = []
        self.finished: set[int] = set()

    def _progressed(self) -> None:
        self.progress += 1

    @rule(count=st.integers(1, 4), gap=st.integers(0, 2))
    def read(self, count: int, gap: int) -> None:
        self.finished.update(range(self.next, self.next + gap))  # offsets without a record
        first = self.next + gap
        batch = self.ledger.add(self.lease, records(first, count), count)
        assert batch is not None
        self.open.append(batch)
        self.next = first + count

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def finish(self, data: Any) -> None:
        batch = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        batch.done()
        batch.done()  # a second time changes nothing
        self.finished.update(range(batch.first_offset, batch.next_offset))

    @precondition(lambda self: self.open)
    @rule()
    def fail(self) -> None:
        self.open[0].failed(RuntimeError("planned"))
        assert self.failures[-1] is self.open[0]

    @precondition(lambda self: self.stale)
    @rule()
    def finish_a_stale_one(self) -> None:
        self.stale.pop().done()

    @rule()
    def lose_and_get_the_partition_again(self) -> None:
        if self.lease.committable is not None:
            self.committed = self.lease.committable
        self.ledger.end([TP0])
        self.stale += self.open
        assert all(not batch.live and not list(batch) for batch in self.stale)
        self.open = []
        self.ledger.begin([TP0])
        self.lease = self.ledger.leases[TP0]
        self.next = self.committed
        self.finished = {offset for offset in self.finished if offset < self.committed}

    @invariant()
    def nothing_is_committable_past_an_unfinished_batch(self) -> None:
        if self.lease.committable is not None:
            assert all(offset in self.finished for offset in range(self.committed, self.lease.committable))

    @invariant()
    def the_counts_are_those_of_the_open_batches(self) -> None:
        assert self.ledger.batches == len(self.open)
        assert self.ledger.records == self.ledger.bytes == sum(map(len, self.open))
        assert self.ledger.unfinished() == sorted(self.open, key=lambda batch: batch.number)


TestSchedule = Schedule.TestCase
TestSchedule.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def one_batch() -> tuple[Ledger, Batch]:
    ledger = Ledger(lambda: None, lambda batch, error: None)
    ledger.begin([TP0])
    batch = ledger.add(ledger.leases[TP0], records(5, 3), 30)
    assert batch is not None
    return ledger, batch


def test_an_offset_that_went_back_is_refused() -> None:
    ledger, _ = one_batch()
    with pytest.raises(OffsetWentBack):
        ledger.add(ledger.leases[TP0], records(7, 1), 1)


def test_an_ended_lease_takes_nothing() -> None:
    ledger, batch = one_batch()
    ledger.end([TP0])
    assert ledger.add(batch.lease, records(8, 1), 1) is None


class Outbox:
    def __init__(self) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def delivered(self) -> asyncio.Future[None]:
        return self.future


async def test_done_after_waits_for_the_delivery() -> None:
    _, batch = one_batch()
    outbox = Outbox()
    batch.done_after(outbox)
    await asyncio.sleep(0)
    assert batch.lease.committable is None
    outbox.future.set_result(None)
    await asyncio.sleep(0)
    assert batch.lease.committable == 8


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_delivery_that_failed_finishes_nothing(cancelled: bool) -> None:
    _, batch = one_batch()
    outbox = Outbox()
    batch.done_after(outbox)
    if cancelled:
        outbox.future.cancel()
    else:
        outbox.future.set_exception(RuntimeError("planned"))
    await asyncio.sleep(0)
    assert not batch.finished


def test_lag_is_known_only_from_both_ends() -> None:
    _, batch = one_batch()
    lease = batch.lease
    assert lease.lag is None
    lease.high_watermark = 10
    assert lease.lag is None
    lease.committed = 4
    assert lease.lag == 6


@pytest.mark.parametrize("end", ["finished", "lost"])
def test_a_batch_that_is_over_does_not_wait_for_the_garbage_collector(end: str) -> None:
    """A message of Kafka's holds the whole response it came in: megabytes that would pile up."""
    ledger = Ledger(lambda: None, lambda batch, error: None)
    ledger.begin([TP0])
    batch = ledger.add(ledger.leases[TP0], records(0, 3), 3)
    assert batch is not None
    carrier = SimpleNamespace(value=batch, tracked=True)
    batch.message = carrier
    held = weakref.ref(batch.records[0])
    gc.disable()
    try:
        if end == "finished":
            batch.done()
        else:
            ledger.end([TP0])
        del batch, carrier
        assert held() is None
    finally:
        gc.enable()
