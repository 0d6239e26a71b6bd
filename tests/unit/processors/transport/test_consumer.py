"""The consumer's own decisions: what is committed, what is handed over again, when the worker stops."""

from __future__ import annotations

import asyncio
from typing import Any

import confluent_kafka
import faust
import pytest
from confluent_kafka import TopicPartition
from faust.exceptions import ImproperlyConfigured
from faust.types import TP

from processors.transport import Abandoned, BatchApp, BatchSchema, Options, Transport
from processors.transport.consumer import BatchFailed, Consumer, StopWorker
from processors.transport.ledger import Batch
from processors.transport.poller import Chunk
from tests.unit.processors.transport.fakes import FakeMessage

TP0, TP1 = TP("raw", 0), TP("raw", 1)


class FakePoller:
    """Runs commands at once; its client commits what it is told."""

    def __init__(self) -> None:
        self.client = self
        self.committed: list[dict[int, int]] = []
        self.error: Exception | None = None
        self.refused: set[int] = set()
        self.stuck = 0.0

    def submit(self, command: Any) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        try:
            future.set_result(command())
        except Exception as error:
            future.set_exception(error)
        return future

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[Any]:
        if self.error is not None:
            raise self.error
        self.committed.append({tp.partition: tp.offset for tp in offsets})
        return [_Result(tp, tp.partition in self.refused) for tp in offsets]

    def notify_capacity(self) -> None:
        pass

    def stuck_for(self) -> float:
        return self.stuck

    def learn_committed(self, timeout: float, leases: Any = None) -> None:
        for lease in leases.values():
            lease.committed = 7


class _Result:
    def __init__(self, tp: TopicPartition, refused: bool) -> None:
        self.topic, self.partition, self.offset = tp.topic, tp.partition, tp.offset
        self.error = "refused" if refused else None


class Rig:
    def __init__(self, **options: Any) -> None:
        self.app = BatchApp(
            "test", options=Options(retry_seconds=0.001, **options), broker="confluent-batch://", store="memory://"
        )
        self.consumer: Consumer = self.app.consumer  # type: ignore[assignment]
        self.poller = FakePoller()
        self.consumer._poller = self.poller  # type: ignore[assignment]
        self.crashes: list[BaseException] = []
        self.consumer.crash = self._crash  # type: ignore[method-assign]
        self.consumer.ledger.begin([TP0, TP1])

    async def _crash(self, reason: BaseException) -> None:
        self.crashes.append(reason)


@pytest.fixture
async def rig() -> Rig:
    return Rig()


async def accepted() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def put(rig: Rig, tp: TP, first: int, count: int) -> Batch:
    """A batch in flight, as if the poller had delivered it."""
    messages = [FakeMessage(first + number, partition=tp.partition) for number in range(count)]
    rig.consumer._posted += count
    rig.consumer._accept([Chunk(rig.consumer.ledger.leases[tp], messages, count)])
    return rig.consumer.ledger.leases[tp].inflight[-1]


async def test_only_finished_prefixes_are_committed(rig: Rig) -> None:
    first, second = put(rig, TP0, 0, 3), put(rig, TP0, 3, 2)
    put(rig, TP1, 0, 4)
    second.done()
    assert await rig.consumer.force_commit() is False
    first.done()
    assert await rig.consumer.force_commit() is True
    assert rig.poller.committed == [{0: 5}]
    assert await rig.consumer.force_commit() is False  # nothing new
    assert rig.poller.committed == [{0: 5}]


async def test_faust_acknowledging_means_nothing(rig: Rig) -> None:
    batch = put(rig, TP0, 0, 3)
    rig.consumer._acked[TP0] = [0]
    await rig.consumer.force_commit()
    assert rig.poller.committed == []
    assert not batch.finished


async def test_a_failed_commit_is_tried_again_and_counted(rig: Rig) -> None:
    put(rig, TP0, 0, 3).done()
    rig.poller.error = confluent_kafka.KafkaException("planned")
    assert await rig.consumer.force_commit() is False
    assert rig.consumer.ledger.commit_failures == 1
    assert rig.consumer._commit_failing_since is not None
    rig.poller.error = None
    assert await rig.consumer.force_commit() is True
    assert rig.poller.committed == [{0: 3}]
    assert rig.consumer._commit_failing_since is None


async def test_a_commit_refused_for_one_partition_is_tried_again_for_it(rig: Rig) -> None:
    put(rig, TP0, 0, 3).done()
    put(rig, TP1, 0, 1).done()
    rig.poller.refused = {0}
    assert await rig.consumer.force_commit() is False
    rig.poller.refused = set()
    assert await rig.consumer.force_commit() is True
    assert rig.poller.committed == [{0: 3, 1: 1}, {0: 3}]


async def test_a_failed_batch_holds_its_partition_and_comes_again_in_order(rig: Rig) -> None:
    first, second = put(rig, TP0, 0, 1), put(rig, TP0, 1, 1)
    other = put(rig, TP1, 0, 1)
    assert rig.consumer._next_batch() is first
    first.failed(RuntimeError("planned"))
    assert rig.consumer._next_batch() is other
    assert rig.consumer._next_batch() is None
    await asyncio.sleep(0.02)
    assert [rig.consumer._next_batch(), rig.consumer._next_batch()] == [first, second]
    assert rig.consumer.ledger.redeliveries == 1
    assert rig.crashes == []


async def test_a_batch_that_keeps_failing_stops_the_worker(rig: Rig) -> None:
    batch = put(rig, TP0, 0, 1)
    for _ in range(rig.consumer.options.max_attempts):
        batch.failed(RuntimeError("planned"))
    await asyncio.sleep(0)
    assert isinstance(rig.crashes[0], BatchFailed)


async def test_an_agent_can_stop_the_worker_at_once(rig: Rig) -> None:
    put(rig, TP0, 0, 1).failed(StopWorker("a flood"))
    await asyncio.sleep(0)
    assert [str(crash) for crash in rig.crashes] == ["a flood"]
    await asyncio.sleep(0.01)
    assert rig.consumer._next_batch() is None  # never handed over again
    await rig.consumer.force_commit()
    assert rig.poller.committed == []


async def test_an_exception_out_of_the_agent_fails_the_batch_in_its_hands(rig: Rig) -> None:
    class Tracked:
        tracked = True

    taken, waiting = put(rig, TP0, 0, 1), put(rig, TP1, 0, 1)
    taken.message = Tracked()
    await rig.consumer.on_task_error(RuntimeError("planned"))
    assert (taken.attempts, waiting.attempts) == (1, 0)


async def test_room_counts_what_is_on_its_way(rig: Rig) -> None:
    limit = rig.consumer.options.max_inflight_records
    assert rig.consumer.free_records() == limit
    rig.consumer.deliver([Chunk(rig.consumer.ledger.leases[TP0], [FakeMessage(0)], 1)])
    assert rig.consumer.free_records() == limit - 1
    await accepted()
    assert rig.consumer.ledger.records == 1
    assert rig.consumer.free_records() == limit - 1


async def test_no_room_beyond_bytes_or_batches() -> None:
    rig = Rig(max_inflight_bytes=10)
    put(rig, TP0, 0, 10)
    assert rig.consumer.free_records() == 0
    rig = Rig(max_inflight_batches=1)
    put(rig, TP0, 0, 1)
    assert rig.consumer.free_records() == 0


async def test_a_log_that_went_back_stops_the_worker(rig: Rig) -> None:
    put(rig, TP0, 5, 2)
    rig.consumer._accept([Chunk(rig.consumer.ledger.leases[TP0], [FakeMessage(3)], 1)])
    await asyncio.sleep(0)
    assert len(rig.crashes) == 1
    assert TP0 not in rig.consumer.ledger.leases


async def test_idle_is_not_stalled_and_work_without_progress_is(rig: Rig) -> None:
    rig.consumer._progress_at -= 100
    assert rig.consumer.stalled_for() == 0
    batch = put(rig, TP0, 0, 1)
    assert rig.consumer.stalled_for() < 50  # the clock starts with the work
    rig.consumer._progress_at -= 100
    assert rig.consumer.stalled_for() >= 100
    batch.working()
    assert rig.consumer.stalled_for() < 50


async def test_a_client_that_does_not_return_is_a_problem_with_the_brokers(rig: Rig) -> None:
    assert rig.consumer.brokers_problem == ""
    rig.poller.stuck = 11.0
    assert rig.consumer.brokers_problem == "the Kafka client has not returned for 11 s"
    rig.poller.stuck = 0.0
    rig.consumer.brokers("all are down")
    assert rig.consumer.brokers_problem == "all are down"


# ---------------------------------------------------------------- preparing a partition


class Preparing:
    """An app's `prepare` that waits until it is told to go on."""

    def __init__(self, rig: Rig) -> None:
        self.asked: list[tuple[TP, int, int]] = []
        self.go_on = asyncio.Event()
        self.error: Exception | None = None
        self.abandoned = False
        rig.app.prepare = self

    async def __call__(self, tp: TP, assignment: int, offset: int, working: Any) -> None:
        self.asked.append((tp, assignment, offset))
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        try:
            working()
        except Abandoned:
            self.abandoned = True
            raise


def hold(rig: Rig, tp: TP) -> Any:
    """As an assignment does: hold, and let go when prepared."""
    lease = rig.consumer.ledger.leases[tp]
    lease.held = True
    rig.consumer.add_future(rig.consumer._release(lease))
    return lease


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_partition_is_prepared_from_the_groups_offset_while_others_go_on(rig: Rig) -> None:
    preparing = Preparing(rig)
    lease = hold(rig, TP0)
    await turns()
    assert preparing.asked == [(TP0, lease.number, 7)]
    waiting, other = put(rig, TP0, 7, 1), put(rig, TP1, 0, 1)
    assert rig.consumer._next_batch() is other
    assert rig.consumer._next_batch() is None
    await asyncio.wait_for(rig.consumer.wait_empty(), 5)  # a revoke or a stop does not wait for it
    preparing.go_on.set()
    await turns()
    assert rig.consumer._next_batch() is waiting
    assert not lease.held


async def test_a_partition_that_leaves_while_it_is_prepared_is_dropped(rig: Rig) -> None:
    preparing = Preparing(rig)
    lease = hold(rig, TP0)
    await turns()
    put(rig, TP0, 7, 1)
    rig.consumer.ledger.end([TP0])
    rig.consumer.ledger.begin([TP0])  # and comes back
    preparing.go_on.set()
    await turns()
    assert preparing.abandoned
    assert lease.held
    assert not rig.consumer.ledger.leases[TP0].held
    assert rig.consumer._next_batch() is None
    assert rig.crashes == []


async def test_what_could_not_be_prepared_is_handed_over_all_the_same(rig: Rig) -> None:
    preparing = Preparing(rig)
    preparing.error = RuntimeError("planned")
    preparing.go_on.set()
    hold(rig, TP0)
    batch = put(rig, TP0, 7, 1)
    await turns()
    assert rig.consumer._next_batch() is batch
    assert rig.crashes == []


async def test_a_failed_batch_is_prepared_for_before_it_comes_again(rig: Rig) -> None:
    preparing = Preparing(rig)
    batch = put(rig, TP0, 3, 2)
    assert rig.consumer._next_batch() is batch
    batch.failed(RuntimeError("planned"))
    await asyncio.sleep(0.02)
    assert preparing.asked == [(TP0, batch.assignment, 3)]
    assert rig.consumer._next_batch() is None
    preparing.go_on.set()
    await turns()
    assert rig.consumer._next_batch() is batch


# ---------------------------------------------------------------- configuration


def transport(options: Options, **settings: Any) -> Transport:
    app = BatchApp("group", options=options, broker="confluent-batch://", store="memory://", **settings)
    assert isinstance(app.transport, Transport)
    return app.transport


def test_security_reaches_both_clients_and_the_promises_win() -> None:
    given = {"bootstrap.servers": "b:1", "security.protocol": "SASL_SSL", "sasl.password": "x"}
    weak = {"enable.auto.commit": True, "acks": "0", "partitioner": "random", "message.timeout.ms": 5}
    made = transport(Options(consumer={**given, **weak}, producer={**given, **weak}))
    consumer, producer = made.consumer_config(), made.producer_config()
    for config in (consumer, producer):
        assert {name: config[name] for name in given} == given
    assert consumer["enable.auto.commit"] is False
    assert consumer["group.id"] == "group"
    assert consumer["partition.assignment.strategy"] == "cooperative-sticky"
    assert (producer["acks"], producer["enable.idempotence"], producer["partitioner"]) == (
        "all",
        True,
        "murmur2_random",
    )
    assert producer["message.timeout.ms"] == 0


def test_static_membership() -> None:
    made = transport(Options(), consumer_group_instance_id="a-1")
    assert made.consumer_config()["group.instance.id"] == "a-1"
    assert "group.instance.id" not in transport(Options()).consumer_config()


def test_the_brokers_own_protocol_takes_no_classic_settings() -> None:
    config = transport(Options(consumer={"group.protocol": "consumer"})).consumer_config()
    assert not {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"} & config.keys()


def test_an_app_without_options_is_told_so() -> None:
    app = faust.App("plain", broker="confluent-batch://", store="memory://")
    with pytest.raises(ImproperlyConfigured, match="BatchApp"):
        Transport([], app).consumer_config()


def test_the_schema_passes_batches_through() -> None:
    class Carrier:
        key, value = None, object()

    schema: Any = BatchSchema()
    assert schema.loads_value(None, Carrier) is Carrier.value
    assert schema.loads_key(None, Carrier) is None
