"""The poller's thread with a client that does what the test planned."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import confluent_kafka
import pytest
from faust.types import TP

from processors.transport.exits import EXIT_STALLED
from processors.transport.ledger import Ledger
from processors.transport.poller import Chunk, Leases, Policy, Poller
from tests.unit.processors.transport.fakes import FakeClient, FakeError, FakeMessage


class Left(BaseException):
    """Stands for the end of the process."""


class FakeOwner:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.ledger = Ledger(lambda: None, lambda batch, error: None)
        self.chunks: list[Chunk] = []
        self.events: list[tuple[Any, ...]] = []
        self.free = 100
        self.stalled = 0.0
        self.failure: asyncio.Future[BaseException] = self.loop.create_future()
        self.on_revoke: Callable[[], Any] = asyncio.Event().is_set

    async def assigned(self, tps: set[TP]) -> Leases:
        self.events.append(("assigned", sorted(tp.partition for tp in tps)))
        self.ledger.begin(tps)
        return dict(self.ledger.leases)

    async def revoked(self, tps: set[TP], *, lost: bool) -> Leases:
        self.events.append(("lost" if lost else "revoked", sorted(tp.partition for tp in tps)))
        answer = self.on_revoke()
        if asyncio.isfuture(answer):
            await answer
        self.ledger.end(tps)
        return dict(self.ledger.leases)

    def deliver(self, chunks: list[Chunk]) -> None:
        self.chunks += chunks

    def free_records(self) -> int:
        return self.free

    def stalled_for(self) -> float:
        return self.stalled

    def fail(self, error: BaseException) -> None:
        self.loop.call_soon_threadsafe(self.failure.set_result, error)

    def brokers(self, problem: str) -> None:
        self.events.append(("brokers", problem))


class Rig:
    """A poller on a fake client, stopped when the test ends."""

    def __init__(self) -> None:
        self.owner = FakeOwner()
        self.client = FakeClient()
        self.idle = threading.Event()
        self.client.on_idle = self._idle
        self.left: list[int] = []
        self.poller = Poller(
            self.owner,
            lambda on_error: self.client,
            ["raw"],
            Policy(
                max_poll_records=10,
                hold_seconds=0.01,
                stall_seconds=5,
                observe_seconds=0,
                leave=self._leave,
                poll_seconds=0,
            ),
        )

    def _idle(self) -> None:
        self.idle.set()
        self.poller._capacity.clear()
        self.poller._capacity.wait(0.01)

    def _leave(self, status: int, reason: str) -> None:
        self.left.append(status)
        raise Left(reason)

    async def run_plan(self) -> None:
        """Start, and wait until everything planned has happened."""
        if not self.poller.is_alive():
            self.poller.start()
        self.idle.clear()
        assert await asyncio.to_thread(self.idle.wait, 10)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    yield made
    made.poller.request_stop()
    if made.poller.ident is not None:
        await asyncio.to_thread(made.poller.join, 10)
        assert not made.poller.is_alive()
        assert made.client.calls[-1] == ("close",)


async def test_records_are_grouped_by_partition(rig: Rig) -> None:
    rig.client.will_assign(0, 1)
    rig.client.will_fetch(*(FakeMessage(offset, partition=offset % 2, value=b"xyz") for offset in range(6)))
    await rig.run_plan()
    found = {
        chunk.lease.tp.partition: ([m.offset() for m in chunk.records], chunk.size_bytes) for chunk in rig.owner.chunks
    }
    assert found == {0: ([0, 2, 4], 9), 1: ([1, 3, 5], 9)}


async def test_one_poll_takes_no_more_than_its_share(rig: Rig) -> None:
    rig.client.will_assign(0)
    rig.client.will_fetch(*(FakeMessage(offset) for offset in range(25)))
    await rig.run_plan()
    assert [len(chunk.records) for chunk in rig.owner.chunks] == [10, 10, 5]


async def test_records_of_a_partition_that_left_are_dropped(rig: Rig) -> None:
    rig.client.will_assign(0, 1)
    rig.client.will_revoke(1)
    rig.client.will_fetch(FakeMessage(0, partition=1), FakeMessage(0, partition=0))
    await rig.run_plan()
    assert [chunk.lease.tp.partition for chunk in rig.owner.chunks] == [0]


async def test_without_room_it_waits_then_pauses_then_resumes(rig: Rig) -> None:
    rig.client.will_assign(0)
    rig.client.will_fetch(FakeMessage(0))
    await rig.run_plan()
    await rig.run_plan()
    rig.client.calls.clear()
    rig.owner.chunks.clear()
    rig.owner.free = 0
    rig.client.will_fetch(FakeMessage(1))
    rig.poller.notify_capacity()
    assert await asyncio.to_thread(rig.client.paused.wait, 10)
    rig.owner.free = 10
    await rig.run_plan()
    assert rig.client.calls[:2] == [("pause", [0]), ("resume", [0])]
    assert len(rig.owner.chunks) == 1


async def test_a_held_partition_is_not_read_and_the_others_are(rig: Rig) -> None:
    rig.client.will_assign(0, 1)
    await rig.run_plan()
    await rig.run_plan()
    rig.owner.ledger.leases[TP("raw", 1)].held = True
    rig.client.calls.clear()
    await rig.run_plan()
    await rig.run_plan()
    assert rig.client.calls == []  # not before something of it was read: librdkafka would read from the beginning later
    rig.client.will_fetch(FakeMessage(0, partition=1), FakeMessage(0, partition=0))
    await rig.run_plan()
    await rig.run_plan()
    assert rig.client.calls == [("pause", [1])]
    rig.client.will_assign(2)  # an assignment resumes the rest only
    await rig.run_plan()
    await rig.run_plan()
    assert rig.client.calls[1:] == [("pause", [1]), ("resume", [0, 2])]
    rig.owner.ledger.leases[TP("raw", 1)].held = False
    await rig.run_plan()
    await rig.run_plan()
    assert rig.client.calls[3:] == [("resume", [1])]


async def test_a_paused_partition_is_resumed_before_it_leaves(rig: Rig) -> None:
    """librdkafka remembers the pause, and would start a partition that comes back as a paused one."""
    rig.client.will_assign(0, 1)
    rig.client.will_fetch(FakeMessage(0, partition=1))
    await rig.run_plan()
    rig.owner.ledger.leases[TP("raw", 1)].held = True
    await rig.run_plan()
    await rig.run_plan()
    assert rig.client.calls[-1] == ("pause", [1])
    rig.client.will_revoke(1)
    await rig.run_plan()
    assert rig.client.calls[-1] == ("resume", [1])


async def test_every_assignment_resumes(rig: Rig) -> None:
    """librdkafka remembers a pause across assignments: a partition that came back would stay silent."""
    rig.client.will_assign(0)
    rig.client.will_assign(1)
    await rig.run_plan()
    await rig.run_plan()
    assert rig.client.calls[-1] == ("resume", [0, 1])


async def test_a_revoke_serves_commands_while_it_waits(rig: Rig) -> None:
    rig.client.will_assign(0)
    await rig.run_plan()
    offsets = [confluent_kafka.TopicPartition("raw", 0, 7)]
    rig.owner.on_revoke = lambda: rig.poller.submit(lambda: rig.client.commit(offsets=offsets, asynchronous=False))
    rig.client.will_revoke(0)
    await rig.run_plan()
    assert ("commit", {0: 7}) in rig.client.calls
    assert rig.owner.events[-1] == ("revoked", [0])


async def test_lost_is_told_from_revoked(rig: Rig) -> None:
    rig.client.will_assign(0)
    rig.client.will_revoke(0, lost=True)
    await rig.run_plan()
    assert rig.owner.events == [("assigned", [0]), ("lost", [0])]


async def test_a_commands_error_reaches_who_asked(rig: Rig) -> None:
    await rig.run_plan()

    def command() -> None:
        raise ValueError("planned")

    with pytest.raises(ValueError, match="planned"):
        await rig.poller.submit(command)


async def test_commands_after_the_end_are_refused(rig: Rig) -> None:
    await rig.run_plan()
    rig.poller.request_stop()
    await asyncio.to_thread(rig.poller.join, 10)
    with pytest.raises(RuntimeError, match="stopped"):
        await rig.poller.submit(lambda: None)


async def test_an_error_of_the_thread_stops_the_worker(rig: Rig) -> None:
    rig.client.will_assign(0)
    rig.client.will_fetch(FakeMessage(0, error=FakeError(fatal=True)))
    rig.poller.start()
    assert isinstance(await rig.owner.failure, confluent_kafka.KafkaException)


async def test_other_errors_do_not(rig: Rig) -> None:
    rig.client.will_assign(0)
    rig.client.will_fetch(FakeMessage(0, error=FakeError()), FakeMessage(1))
    await rig.run_plan()
    assert [chunk.records[0].offset() for chunk in rig.owner.chunks] == [1]


async def test_brokers_that_are_away_are_told_and_untold(rig: Rig) -> None:
    down = FakeError(confluent_kafka.KafkaError._ALL_BROKERS_DOWN)
    rig.client.will_assign(0)
    rig.client.away = True
    rig.client.will_fetch(FakeMessage(0, error=down))
    await rig.run_plan()
    assert rig.owner.events[-1] == ("brokers", "made up")
    rig.client.watermarks = {0: 50}
    rig.client.will_fetch(FakeMessage(1))  # fetched before, like the new watermark
    await rig.run_plan()
    await rig.run_plan()
    assert rig.owner.events[-1] == ("brokers", "made up")
    rig.client.away = False
    await rig.run_plan()
    await rig.run_plan()
    assert rig.owner.events[-1] == ("brokers", "")


async def test_the_watchdog_ends_the_process(rig: Rig) -> None:
    await rig.run_plan()
    rig.owner.stalled = 6
    assert isinstance(await rig.owner.failure, Left)
    assert rig.left == [EXIT_STALLED]


async def test_a_client_that_does_not_return_ends_the_process(rig: Rig) -> None:
    """The watchdog of the poller's thread cannot run then, and with nothing in flight there is nothing else to see."""
    left, go_on = threading.Event(), threading.Event()

    def leave(status: int, reason: str) -> None:
        rig.left.append(status)
        left.set()
        go_on.set()

    rig.poller._policy = replace(rig.poller._policy, leave=leave, stall_seconds=0.2, watch_seconds=0.01)
    await rig.run_plan()
    assert rig.poller.stuck_for() < 5
    command = rig.poller.submit(lambda: go_on.wait(20))
    assert await asyncio.to_thread(left.wait, 10)
    assert await command
    assert set(rig.left) == {EXIT_STALLED}


async def test_watermarks_and_group_offsets_give_the_lag(rig: Rig) -> None:
    rig.client.watermarks = {0: 50}
    rig.client.committed_offsets = {0: 20}
    rig.client.will_assign(0, 1)
    await rig.run_plan()
    await rig.poller.submit(lambda: rig.poller.learn_committed(1))
    await rig.run_plan()
    leases = {tp.partition: lease for tp, lease in rig.owner.ledger.leases.items()}
    assert leases[0].lag == 30
    assert leases[1].lag is None  # its end is not known
