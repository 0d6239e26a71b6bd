"""Leaving in order under load: not ready, refuse with a hint, finish, deliver, go, in time. And connections that grow old."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from chaukas.sdk.core.client import ChaukasClient
from chaukas.sdk.core.config import ChaukasConfig
from chaukas.spec.common.v1 import events_pb2 as pb

from runtime.settings import KafkaSettings
from tests.integration.gateway.harness import (
    PROJECT,
    TENANT,
    KeyFile,
    RawTopic,
    Refused,
    RunningGateway,
    batch_request,
    refused_by_grpc,
    refused_by_http,
)
from tests.integration.gateway.process import Process
from tests.support.broker import Broker
from tests.support.events import event
from tests.support.fault_proxy import BLACKHOLE, PASS
from tests.support.raw_http2 import RawConnection, grpc_message
from tests.support.waiting import wait_for

PROTOBUF = {"content-type": "application/x-protobuf"}
BATCH = "/chaukas.spec.server.v1.ChaukasServerService/IngestEventBatch"


def some(count: int) -> list[pb.Event]:
    return [event(tenant=TENANT, project=PROJECT, session=f"s{i % 5}") for i in range(count)]


class Load:
    """Callers on both doors and the SDK, each until its gateway is gone; what was acknowledged, and what refused."""

    def __init__(self, running: Process, keys: KeyFile) -> None:
        self.running = running
        self.keys = keys
        self.acknowledged: set[str] = set()
        self.refused: list[Refused] = []
        self.sdk_left: set[str] = set()
        self._over = threading.Event()
        callers = [self._grpc, self._grpc, self._http, self._http, self._sdk]
        self._threads = [threading.Thread(target=caller) for caller in callers]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _grpc(self) -> None:
        channel: Any = grpc.insecure_channel(self.running.grpc_target)
        send = channel.unary_unary(BATCH)
        while not self._over.is_set():
            events = some(3)
            try:
                send(batch_request(events).SerializeToString(), metadata=self.keys.full.metadata, timeout=20)
            except grpc.RpcError as error:
                if ended_with_its_connection(error):
                    # The process is gone. This caller does not wait as it is told, so it may have a call under way just then.
                    assert error.code() is grpc.StatusCode.UNAVAILABLE
                    break
                self.refused.append(refused_by_grpc(error))
                time.sleep(0.02)
            else:
                self.acknowledged |= {each.event_id for each in events}
        channel.close()

    def _http(self) -> None:
        with httpx.Client(base_url=self.running.url, timeout=30, headers=self.keys.full.headers) as client:
            while not self._over.is_set():
                events = some(3)
                body = batch_request(events).SerializeToString()
                try:
                    answer = client.post("/v1/events/batch", content=body, headers=PROTOBUF)
                except httpx.ConnectError:
                    break
                except httpx.TransportError:
                    continue  # closed while idle, as any server may; nothing was acknowledged
                if answer.status_code == 202:
                    self.acknowledged |= {each.event_id for each in events}
                else:
                    assert answer.headers["connection"] == "close"
                    self.refused.append(refused_by_http(answer))
                    time.sleep(0.02)

    def _sdk(self) -> None:
        asyncio.run(self._sdk_session())

    async def _sdk_session(self) -> None:
        config = ChaukasConfig(
            tenant_id=TENANT, project_id=PROJECT, endpoint=self.running.url, api_key=self.keys.full.text, batch_size=5
        )
        client = ChaukasClient(config=config)
        sent: set[str] = set()
        while not self._over.is_set():
            events = some(5)
            sent |= {each.event_id for each in events}
            try:
                await client.send_events(events)
                await client.flush()
            except Exception:  # the SDK has queued them again
                await asyncio.sleep(0.05)
        self.sdk_left = {each.event_id for each in client._events_queue}
        self.acknowledged |= sent - self.sdk_left
        await client._client.aclose()


def ended_with_its_connection(error: grpc.RpcError) -> bool:
    """Whether this is the client library's word, not the gateway's: there is no connection (any more)."""
    words = (
        "failed to connect",
        "connection refused",
        "connection reset",
        "socket closed",
        "stream removed",
        "broken pipe",
    )
    return any(word in str(error.details()).lower() for word in words)


@pytest.fixture(scope="module")
def topic_of_leavers(kafka: Broker) -> KafkaSettings:
    kafka.create_topics("leave.", partitions=2)
    return kafka.settings("leave.", through="gateway")


def ids_in(topic: RawTopic, wanted: set[str]) -> set[str]:
    found: set[str] = set()

    def all_there() -> bool:
        found.update(dict(record.headers())["event_id"].decode() for record in topic.read_available())
        return wanted <= found

    wait_for(f"{len(wanted)} acknowledged events in the topic", all_there, seconds=20)
    return found


def log_of(running: Process, seconds: float) -> list[dict[str, Any]]:
    """Its log once it has ended."""
    _, log = running.process.communicate(timeout=seconds)
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def test_it_leaves_under_load_and_loses_nothing(kafka: Broker, topic_of_leavers: KafkaSettings, tmp_path: Path) -> None:
    raw = RawTopic(kafka.settings("leave."))
    running = Process(topic_of_leavers, KeyFile(tmp_path / "keys.json"), GATEWAY_SHUTDOWN_SECONDS="8")
    keys = KeyFile(tmp_path / "keys.json")
    try:
        wait_for("the process to be ready", running.ready, seconds=30)
        load = Load(running, keys)
        wait_for("load on every door", lambda: len(load.acknowledged) > 60, seconds=20)
        probe = httpx.Client(base_url=running.url)
        assert probe.get("/readyz").status_code == 200
        running.process.send_signal(signal.SIGTERM)
        running.process.send_signal(signal.SIGTERM)  # a second one changes nothing

        def not_ready() -> bool:
            answer = probe.get("/readyz")
            return answer.status_code == 503 and answer.json()["conditions"]["serving"] == "stopping"

        assert wait_for("readiness to be false while the door is open", not_ready, seconds=5, every=0.01)
        events = log_of(running, 15)
        load.join()
        probe.close()
        assert running.process.returncode == 0
        assert events[-1]["event"] == "gateway_stopped"
        assert not {"shutdown_cut_short", "records_left_behind", "call_failed"} & {each["event"] for each in events}
        assert load.refused
        for refused in load.refused:
            assert refused.code in ("UNAVAILABLE", "503")
            assert refused.retry_after
            assert "safe" in refused.text
        ids_in(raw, load.acknowledged)
    finally:
        running.kill()
        raw.close()


def test_with_kafka_in_a_black_hole_it_answers_everybody_and_leaves_in_time(
    kafka: Broker, topic_of_leavers: KafkaSettings, tmp_path: Path
) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    # Whoever waits for Kafka here waits for a minute.
    patient = {"GATEWAY_DELIVERY_SECONDS": "60", "GATEWAY_DEADLINE_SECONDS": "60", "GATEWAY_GRPC_MESSAGE_SECONDS": "60"}
    running = Process(topic_of_leavers, keys, GATEWAY_SHUTDOWN_SECONDS="4", **patient)
    proxy = kafka.proxies["gateway"]
    channel: Any = grpc.insecure_channel(running.grpc_target)
    answers: list[Refused] = []

    def call_http() -> None:
        body = batch_request(some(2)).SerializeToString()
        answers.append(
            refused_by_http(httpx.post(f"{running.url}/events/batch", content=body, headers=headers, timeout=30))
        )

    def call_grpc() -> None:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(BATCH)(batch_request(some(2)).SerializeToString(), metadata=keys.full.metadata)
        answers.append(refused_by_grpc(caught.value))

    try:
        headers = {**PROTOBUF, **keys.full.headers}
        wait_for("the process to be ready", running.ready, seconds=30)
        proxy.set(BLACKHOLE)
        threads = [threading.Thread(target=call) for call in (call_http, call_grpc)]
        for thread in threads:
            thread.start()
        with RawConnection(running.grpc_port) as slow, httpx.Client(base_url=running.url) as probe:
            stream = slow.open(BATCH, keys.full.metadata)
            slow.send(stream, grpc_message(bytes(1000))[:500])

            def under_way() -> bool:
                lines = probe.get("/metrics").text.splitlines()
                return {"gateway_inflight_calls 3.0", "gateway_slow_messages 1.0"} <= set(lines)

            wait_for("three calls to be under way", under_way, seconds=10)
            running.process.send_signal(signal.SIGTERM)
            events = log_of(running, 15)
            assert slow.wait_ended(stream, seconds=1)
        for thread in threads:
            thread.join(10)
        assert running.process.returncode == 0
        assert {refused.code for refused in answers} == {"503", "UNAVAILABLE"}
        for refused in answers:
            assert refused.retry_after
            assert "safe" in refused.text
        left = next(each for each in events if each["event"] == "records_left_behind")
        assert left["records"] == 4
    finally:
        proxy.set(PASS)
        channel.close()
        running.kill()


@pytest.mark.parametrize("after_seconds", [0.0, 0.5, 1.0])
def test_a_signal_while_it_starts_ends_it(
    kafka: Broker, topic_of_leavers: KafkaSettings, tmp_path: Path, after_seconds: float
) -> None:
    """Wherever the start is: before its handlers are there the signal ends it as any program, later in order."""
    running = Process(topic_of_leavers, KeyFile(tmp_path / "keys.json"), GATEWAY_SHUTDOWN_SECONDS="4")
    try:
        time.sleep(after_seconds)
        running.process.send_signal(signal.SIGTERM)
        running.process.communicate(timeout=15)
        assert running.process.returncode in (0, -signal.SIGTERM)
        again = running.spawn()
        again.terminate()
        again.communicate(timeout=15)
    finally:
        running.kill()


@pytest.fixture
def aging(kafka: Broker, tmp_path: Path) -> Iterator[RunningGateway]:
    kafka.create_topics("age.", partitions=1)
    running = RunningGateway(
        kafka.settings("age."), tmp_path, grpc_connection_age_seconds=1.0, grpc_connection_grace_seconds=5.0
    )
    running.wait_ready()
    yield running
    running.stop()


def test_connections_that_grow_old_cost_no_call(aging: RunningGateway) -> None:
    """Clients with calls under way all the time; their connections are replaced under them again and again."""
    failed: list[Any] = []
    counts = [0] * 6
    over = time.monotonic() + 4

    def caller(number: int) -> None:
        # A connection of its own.
        channel: Any = grpc.insecure_channel(aging.grpc_target, options=[("grpc.use_local_subchannel_pool", 1)])
        send = channel.unary_unary(BATCH)
        while time.monotonic() < over:
            try:
                send(batch_request(some(1)).SerializeToString(), metadata=aging.keys.full.metadata, timeout=20)
            except grpc.RpcError as error:
                failed.append(error)
            else:
                counts[number] += 1
        channel.close()

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(len(counts))]
    for thread in threads:
        thread.start()
    with RawConnection(aging.ports.grpc) as watcher:
        wait_for("an idle connection to be told to go", lambda: watcher.went_away, seconds=10)
    for thread in threads:
        thread.join(30)
    assert not failed
    assert min(counts) > 50
