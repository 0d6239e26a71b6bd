"""A call is confirmed when all of its records are, and never before."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from prometheus_client import Gauge

from contracts.errors import Overloaded, Unavailable
from gateway.admission import Admission
from gateway.metrics import GatewayMetrics
from gateway.publisher import Delivery, Publisher, Record
from runtime.kafka import ProduceRefused
from tests.unit.gateway.fakes import FakeProducer, KafkaProblem

RECORD: Record = (b"v", "k", {"h": b"v"})


class Setup:
    def __init__(self, *, auto: bool = False) -> None:
        self.metrics = GatewayMetrics()
        self.admission = Admission(1000, self.metrics)
        self.producers: list[FakeProducer] = []
        self.failures: list[str] = []

        def producer(config: Mapping[str, Any]) -> FakeProducer:
            self.producers.append(FakeProducer(config, auto=auto))
            return self.producers[-1]

        self.publisher = Publisher({}, "raw", self.metrics, on_failure=self.failures.append, producer=producer)

    @property
    def producer(self) -> FakeProducer:
        return self.producers[-1]

    def send(self, count: int) -> Delivery:
        with self.admission.lease(100) as lease:
            delivery = self.publisher.begin(lease)
            self.publisher.send(delivery, [RECORD] * count, 1)
            self.publisher.finish(delivery)
        return delivery

    def close(self) -> None:
        self.publisher.close(1.0)


def value(gauge: Gauge) -> float:
    return next(iter(gauge.collect())).samples[0].value


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for is counted on another thread
            await asyncio.sleep(0.005)


async def test_success_waits_for_the_last_report() -> None:
    setup = Setup()
    delivery = setup.send(3)
    for record in setup.producer.records[:2]:
        setup.producer.report(record)
    await until(lambda: delivery.reports == 2)
    with pytest.raises(Unavailable, match="in time"):
        await setup.publisher.confirm(delivery, 0.01)
    setup.producer.report(setup.producer.records[2])
    await setup.publisher.confirm(delivery, 5)
    setup.close()


async def test_the_age_of_the_oldest_call_that_is_not_confirmed() -> None:
    setup = Setup()
    shown = setup.metrics.oldest_unacknowledged_seconds
    assert value(shown) == 0
    oldest, newer = setup.send(1), setup.send(1)
    oldest.started -= 100
    assert 100 <= value(shown) < 200
    setup.producer.report(setup.producer.records[0])
    await setup.publisher.confirm(oldest, 5)
    assert value(shown) < 100
    setup.producer.report(setup.producer.records[1])
    await setup.publisher.confirm(newer, 5)
    setup.close()


async def test_one_failed_record_fails_the_call_and_is_told() -> None:
    setup = Setup()
    delivery = setup.send(2)
    setup.producer.report(setup.producer.records[0])
    setup.producer.report(setup.producer.records[1], KafkaProblem("_MSG_TIMED_OUT"))
    with pytest.raises(Unavailable, match="1 of 2 events \\(_MSG_TIMED_OUT\\)") as failed:
        await setup.publisher.confirm(delivery, 5)
    assert failed.value.retry_after_seconds > 0
    assert setup.failures == ["Kafka did not confirm records (_MSG_TIMED_OUT)"]
    count = setup.metrics.registry.get_sample_value("gateway_events_undelivered_total", {"error": "_MSG_TIMED_OUT"})
    assert count == 1
    setup.close()


async def test_the_room_is_held_until_the_reports_even_when_nobody_waits_any_more() -> None:
    setup = Setup()
    delivery = setup.send(1)
    with pytest.raises(Unavailable):
        await setup.publisher.confirm(delivery, 0.01)
    assert setup.admission.used_bytes == 100
    setup.producer.report_all()
    await until(lambda: setup.admission.used_bytes == 0)
    setup.close()


async def test_while_the_oldest_call_waits_too_long_no_other_is_taken() -> None:
    setup = Setup()
    setup.publisher.check()
    setup.send(1)
    setup.publisher.check()
    setup.publisher._behind_seconds = 0
    with pytest.raises(Unavailable, match="nothing of this call was accepted"):
        setup.publisher.check()
    setup.producer.report_all()
    await until(lambda: setup.admission.used_bytes == 0)
    setup.publisher.check()
    setup.close()


async def test_a_call_without_records_is_confirmed_at_once() -> None:
    setup = Setup()
    await setup.publisher.confirm(setup.send(0), 5)
    assert setup.admission.used_bytes == 0
    setup.close()


async def test_reports_before_the_end_of_the_call_count() -> None:
    setup = Setup(auto=True)
    with setup.admission.lease(10) as lease:
        delivery = setup.publisher.begin(lease)
        setup.publisher.send(delivery, [RECORD] * 2, 1)
        await until(lambda: delivery.reports == 2)
        assert not delivery.future.done()
        setup.publisher.finish(delivery)
        await setup.publisher.confirm(delivery, 5)
    setup.close()


async def test_a_full_queue_is_overload() -> None:
    setup = Setup()
    setup.producer.room = 0
    with setup.admission.lease(10) as lease:
        delivery = setup.publisher.begin(lease)
        with pytest.raises(Overloaded):
            setup.publisher.send(delivery, [RECORD], 1)
        setup.publisher.finish(delivery)
    assert setup.admission.used_bytes == 0
    setup.close()


async def test_a_record_that_is_refused_at_once_is_unavailable() -> None:
    setup = Setup()
    setup.producer.refusal = ProduceRefused(KafkaProblem("MSG_SIZE_TOO_LARGE"))
    with setup.admission.lease(10) as lease:
        delivery = setup.publisher.begin(lease)
        with pytest.raises(Unavailable, match="MSG_SIZE_TOO_LARGE"):
            setup.publisher.send(delivery, [RECORD], 1)
        setup.publisher.finish(delivery)
    assert setup.failures
    setup.close()


async def test_a_producer_with_a_fatal_error_is_replaced_and_its_calls_end() -> None:
    setup = Setup()
    delivery = setup.send(2)
    first = setup.producer
    first.config["error_cb"](KafkaProblem("_ALL_BROKERS_DOWN"))
    first.config["error_cb"](KafkaProblem("_FATAL", is_fatal=True))
    with pytest.raises(Unavailable, match="_PURGE_QUEUE"):
        await setup.publisher.confirm(delivery, 5)
    assert len(setup.producers) == 2
    assert setup.metrics.registry.get_sample_value("gateway_producer_replacements_total") == 1
    again = setup.send(1)
    assert first.records != setup.producer.records
    setup.producer.report_all()
    await setup.publisher.confirm(again, 5)
    setup.close()


async def test_the_loop_takes_the_reports_itself() -> None:
    setup = Setup()
    delivery = setup.send(1)
    setup.producer.report_all()
    await setup.publisher.confirm(delivery, 5)
    assert setup.producer.polled_by == {threading.get_ident()}
    setup.close()


async def test_a_look_at_the_reports_that_fails_is_not_the_last() -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
    setup = Setup()
    delivery = setup.send(2)
    setup.producer.report_all()
    setup.producer.poll_fails = RuntimeError("once")
    await setup.publisher.confirm(delivery, 5)
    assert [str(error) for error in told] == ["once"]
    setup.close()


async def test_who_waits_is_answered_while_the_rest_is_delivered() -> None:
    setup = Setup()
    first, second = setup.send(1), setup.send(1)
    setup.producer.flush_gate.clear()
    closing = asyncio.create_task(asyncio.to_thread(setup.publisher.close, 5.0))
    await until(setup.producer.flushing.is_set)
    await asyncio.to_thread(setup.producer.take, setup.producer.records[0])  # as by the flush
    await setup.publisher.confirm(first, 5)
    assert not second.future.done()
    setup.producer.report(setup.producer.records[1])
    setup.producer.flush_gate.set()
    await closing
    await setup.publisher.confirm(second, 5)
