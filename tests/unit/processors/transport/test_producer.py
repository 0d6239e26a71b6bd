"""The outbox: when a batch is durable, and what a failed delivery does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processors.transport.exits import EXIT_DELIVERY_FAILED
from processors.transport.producer import DeliveryFailed, Outbox


class FakeReport:
    def topic(self) -> str:
        return "out"


class FakeProducerClient:
    """As ``confluent_kafka.Producer``: reports are served by poll()."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.errors: list[Any] = []
        self.full = 0
        self.polls = 0

    def produce(self, topic: str, value: Any, key: Any, on_delivery: Any, timestamp: int, headers: Any) -> None:
        if self.full:
            raise BufferError
        if value == b"too large":
            raise ValueError("planned")
        self.waiting.append(on_delivery)

    def poll(self, timeout: float) -> int:
        self.polls += 1
        self.full = max(0, self.full - 1)
        return 0

    def report(self, error: Any = None) -> None:
        self.waiting.pop(0)(error, FakeReport())


class FakeProducer:
    """The part of the Faust producer an outbox uses."""

    def __init__(self) -> None:
        self.client = FakeProducerClient()
        self.loop = asyncio.get_running_loop()
        self.tracked: list[Any] = []
        self.failures: list[str] = []

    def track(self, future: Any) -> None:
        self.tracked.append(future)

    def delivery_failed(self, error: DeliveryFailed) -> None:
        self.failures.append(str(error))


def outbox() -> tuple[Any, Outbox]:
    producer: Any = FakeProducer()
    return producer, Outbox(producer)


async def test_durable_when_the_last_report_is_in() -> None:
    producer, box = outbox()
    box.send("out", b"1")
    box.send("out", b"22")
    assert (box.records, box.bytes) == (2, 3)
    producer.client.report()
    future = box.delivered()
    assert not future.done()
    assert producer.tracked == [future]
    producer.client.report()
    await future
    assert box.delivered() is future


async def test_reports_before_the_seal_count() -> None:
    producer, box = outbox()
    box.send("out", b"1")
    producer.client.report()
    assert box.delivered().done()


async def test_nothing_sent_is_durable_at_once() -> None:
    _, box = outbox()
    assert box.delivered().done()


@pytest.mark.parametrize("sealed", [True, False])
async def test_a_failed_delivery_ends_the_process_sealed_or_not(sealed: bool) -> None:
    producer, box = outbox()
    box.send("out", b"1")
    box.send("out", b"2")
    if sealed:
        box.delivered()
    producer.client.report("no such luck")
    assert producer.failures == ["out: no such luck"]
    producer.client.report()
    with pytest.raises(DeliveryFailed):
        await box.delivered()


async def test_a_full_queue_is_waited_for() -> None:
    producer, box = outbox()
    producer.client.full = 3
    box.send("out", b"1")
    assert producer.client.polls == 3
    assert len(producer.client.waiting) == 1


async def test_a_record_that_is_refused_at_once_is_not_waited_for() -> None:
    _, box = outbox()
    with pytest.raises(ValueError, match="planned"):
        box.send("out", b"too large")
    assert box.delivered().done()


def test_the_status_tells_what_happened() -> None:
    assert EXIT_DELIVERY_FAILED == 74
