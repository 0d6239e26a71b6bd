"""Kafka swallowed by the network: no reset, no answer. Bounded and hinted refusals, nothing held for long, no restart."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import psutil
import pytest
from chaukas.spec.client.v1 import client_pb2
from chaukas.spec.common.v1 import events_pb2 as pb

from tests.integration.gateway.harness import (
    PROJECT,
    TENANT,
    RawTopic,
    Refused,
    RunningGateway,
    batch_request,
    refused_by_grpc,
    refused_by_http,
)
from tests.support.broker import Broker
from tests.support.events import event
from tests.support.fault_proxy import BLACKHOLE, PASS, REFUSE, Fault, cut, slow
from tests.support.waiting import wait_for

PROTOBUF = {"content-type": "application/x-protobuf"}


def some(count: int) -> list[pb.Event]:
    return [event(tenant=TENANT, project=PROJECT, session=f"s{i % 5}") for i in range(count)]


@pytest.fixture(scope="module")
def behind(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway that reaches Kafka through the proxy; a record is given up after 2 s, a call waits 3."""
    kafka.create_topics("hole.", partitions=2)
    settings = kafka.settings("hole.", through="gateway")
    running = RunningGateway(settings, tmp_path_factory.mktemp("hole"), delivery_seconds=2, deadline_seconds=3)
    running.wait_ready()
    yield running
    kafka.proxies["gateway"].set(PASS)
    running.stop()


@pytest.fixture
def topic(kafka: Broker) -> Iterator[RawTopic]:
    reader = RawTopic(kafka.settings("hole."))
    yield reader
    reader.close()


def send_grpc(gateway: RunningGateway, events: list[pb.Event], timeout: float | None = None) -> None:
    try:
        gateway.server.IngestEventBatch(batch_request(events), metadata=gateway.keys.full.metadata, timeout=timeout)
    except grpc.RpcError as error:
        raise refused_by_grpc(error) from None


def send_client(gateway: RunningGateway, events: list[pb.Event]) -> None:
    request = client_pb2.IngestEventRequest(event=events[0])
    try:
        gateway.client.IngestEvent(request, metadata=gateway.keys.full.metadata)
    except grpc.RpcError as error:
        raise refused_by_grpc(error) from None


def send_http(gateway: RunningGateway, events: list[pb.Event]) -> None:
    body = batch_request(events).SerializeToString()
    answer = gateway.http.post("/v1/events/batch", content=body, headers=PROTOBUF)
    if answer.status_code != 202:
        raise refused_by_http(answer)


DOORS = [send_grpc, send_client, send_http]


def accepted_again(gateway: RunningGateway) -> None:
    """Without a restart."""
    gateway.wait_ready()

    def sent() -> bool:
        try:
            send_grpc(gateway, some(1))
        except Refused:
            return False
        return True

    wait_for("events to be accepted again", sent, seconds=15)


@pytest.mark.parametrize("fault", [BLACKHOLE, REFUSE], ids=["black hole", "refused"])
def test_every_door_says_unavailable_and_that_a_resend_is_safe(
    kafka: Broker, behind: RunningGateway, fault: Fault
) -> None:
    kafka.proxies["gateway"].set(fault)
    try:
        threads, refusals = [], []
        started = time.monotonic()

        def attempt(send: Any) -> None:
            try:
                send(behind, some(2))
            except Refused as refused:
                refusals.append(refused)

        for send in DOORS:
            threads.append(threading.Thread(target=attempt, args=(send,)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - started < 8
        assert sorted(refused.code for refused in refusals) == ["503", "UNAVAILABLE", "UNAVAILABLE"]
        for refused in refusals:
            assert refused.retry_after
            assert "safe" in refused.text
        with pytest.raises(Refused) as caught:
            send_grpc(behind, some(1), timeout=0.7)
        assert caught.value.code == "UNAVAILABLE"  # and not DEADLINE_EXCEEDED, which says nothing
        assert behind.http.get("/healthz").status_code == 200
        assert wait_for("it to be not ready", lambda: not behind.gateway.readiness.ready, seconds=10)
    finally:
        kafka.proxies["gateway"].set(PASS)
    accepted_again(behind)
    wait_for("everything to be given back", lambda: behind.gateway.admission.used_bytes == 0, seconds=10)


def test_a_network_that_cuts_and_is_slow_loses_nothing(kafka: Broker, behind: RunningGateway, topic: RawTopic) -> None:
    """Connections cut in the middle of Kafka's answers: acknowledged records are there, and re-sent ones need not be."""
    proxy = kafka.proxies["gateway"]
    proxy.set(down=cut(60, times=3))
    acknowledged: set[str] = set()
    try:
        for number in range(12):
            if number == 8:
                proxy.set(slow(bytes_per_second=200_000, latency_seconds=0.02))
            events = some(5)
            try:
                send_http(behind, events)
            except Refused as refused:
                assert refused.code == "503"
                continue
            acknowledged |= {each.event_id for each in events}
    finally:
        proxy.set(PASS)
    accepted_again(behind)
    assert len(acknowledged) >= 40
    found: set[str] = set()

    def all_there() -> bool:
        for record in topic.read_available():
            found.add(dict(record.headers())["event_id"].decode())
        return acknowledged <= found

    wait_for("the acknowledged events in the topic", all_there, seconds=20)


def test_thousands_of_abandoned_calls_leave_nothing(kafka: Broker, behind: RunningGateway) -> None:
    """Cancelled and timed-out calls while Kafka is away. Room is held until Kafka gives their records up, and no longer."""
    admission = behind.gateway.admission
    metadata = behind.keys.full.metadata
    request = batch_request(some(3))

    def tasks() -> int:
        async def count() -> int:
            return len(asyncio.all_tasks())

        return behind.run(count())

    def abandon(calls: int) -> None:
        cancelled = [behind.server.IngestEventBatch.future(request, metadata=metadata) for _ in range(calls)]
        late = [behind.server.IngestEventBatch.future(request, metadata=metadata, timeout=0.001) for _ in range(calls)]
        late += [behind.server.IngestEventBatch.future(request, metadata=metadata, timeout=0.2) for _ in range(calls)]
        wait_for("calls to be under way", lambda: admission.calls > 0 or all(call.done() for call in late), seconds=10)
        for call in cancelled:
            call.cancel()
        for call in late:
            assert call.exception(timeout=10) is not None

    def settled() -> bool:
        return (admission.used_bytes, admission.calls) == (0, 0)

    wait_for("a calm start", settled, seconds=10)
    kafka.proxies["gateway"].set(BLACKHOLE)
    try:
        abandon(200)  # what is allocated once, is now
        wait_for("the first to be given back", settled, seconds=10)
        before = tasks(), threading.active_count(), psutil.Process().num_fds()
        for _ in range(3):
            abandon(300)
            assert admission.used_bytes > 0  # their records may still be delivered
        wait_for("everything to be given back", settled, seconds=10)
        wait_for("the tasks to end", lambda: tasks() <= before[0] + 2, seconds=10)
        assert threading.active_count() <= before[1] + 2
        assert psutil.Process().num_fds() <= before[2] + 5
    finally:
        kafka.proxies["gateway"].set(PASS)
    accepted_again(behind)
