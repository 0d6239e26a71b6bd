"""Kafka away, no room, no time, no more: bounded refusals with a hint, and recovery without a restart."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from chaukas.sdk.core.client import ChaukasClient
from chaukas.sdk.core.config import ChaukasConfig
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from runtime.settings import KafkaSettings, load
from tests.integration.gateway.harness import (
    PROJECT,
    TENANT,
    KeyFile,
    RawTopic,
    RunningGateway,
    batch_request,
    refused_by_grpc,
    refused_by_http,
)
from tests.integration.gateway.process import Process
from tests.support.broker import Broker
from tests.support.events import event
from tests.support.waiting import wait_for

PROTOBUF = {"content-type": "application/x-protobuf"}


def some(count: int, **fields: Any) -> list[pb.Event]:
    return [event(tenant=TENANT, project=PROJECT, session=f"s{i % 50}", **fields) for i in range(count)]


@pytest.fixture(scope="module")
def without_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    kafka = load(KafkaSettings, bootstrap_servers=f"127.0.0.1:{port}", topic_prefix="away.")
    running = RunningGateway(kafka, tmp_path_factory.mktemp("keys"), delivery_seconds=2)
    yield running
    running.stop()


def test_without_kafka_every_door_says_unavailable_in_time(without_kafka: RunningGateway) -> None:
    started = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        without_kafka.server.IngestEventBatch(batch_request(some(3)), metadata=without_kafka.keys.full.metadata)
    refused = refused_by_grpc(caught.value)
    assert refused.code == "UNAVAILABLE"
    assert refused.retry_after
    assert "safe" in refused.text
    body = batch_request(some(3)).SerializeToString()
    over_http = refused_by_http(without_kafka.http.post("/events/batch", content=body, headers=PROTOBUF))
    assert over_http.code == "503"
    assert over_http.retry_after
    assert "high memory usage" not in over_http.text
    assert time.monotonic() - started < 8


def test_a_caller_with_less_time_is_answered_before_its_deadline(without_kafka: RunningGateway) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        without_kafka.server.IngestEvent(
            server_pb2.IngestEventRequest(event=some(1)[0]), metadata=without_kafka.keys.full.metadata, timeout=0.8
        )
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_without_kafka_it_is_healthy_but_not_ready(without_kafka: RunningGateway) -> None:
    assert without_kafka.http.get("/healthz").status_code == 200
    answer = without_kafka.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["conditions"]["kafka"] not in ("", "ok")
    health: Any = health_pb2_grpc.HealthStub(without_kafka.channel)
    status = {
        service: health.Check(health_pb2.HealthCheckRequest(service=service)).status for service in ("", "readiness")
    }
    assert status == {
        "": health_pb2.HealthCheckResponse.SERVING,
        "readiness": health_pb2.HealthCheckResponse.NOT_SERVING,
    }
    assert without_kafka.metric("gateway_ready") == 0


def test_what_was_refused_holds_no_memory_for_long(without_kafka: RunningGateway) -> None:
    wait_for("the credit to come back", lambda: without_kafka.gateway.admission.used_bytes == 0, seconds=10)


def test_kafka_that_comes_late_goes_away_and_comes_back(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    broker = Broker.prepare(tmp_path / "kafka")
    kafka = broker.settings("late.", partitions=1)
    gateway = RunningGateway(kafka, tmp_path, delivery_seconds=2)
    try:
        assert not gateway.gateway.readiness.ready
        broker.start()
        broker.create_topics("late.", partitions=1)
        gateway.wait_ready()
        accepted = some(20)
        send = gateway.server.IngestEventBatch
        assert send(batch_request(accepted), metadata=gateway.keys.full.metadata).accepted_count == 20
        broker.stop()
        with pytest.raises(grpc.RpcError) as caught:
            send(batch_request(some(20)), metadata=gateway.keys.full.metadata)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not gateway.gateway.readiness.ready
        broker.start()
        gateway.wait_ready()
        again = some(20)

        def resent() -> bool:
            try:
                return bool(send(batch_request(again), metadata=gateway.keys.full.metadata).accepted_count == 20)
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                return False

        wait_for("the gateway to accept again", resent, seconds=30)
    finally:
        gateway.stop()
        broker.stop()


@pytest.fixture(scope="module")
def narrow(gateway_topics: KafkaSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    running = RunningGateway(
        gateway_topics, tmp_path_factory.mktemp("keys"), inflight_max_bytes=20_000, http_body_seconds=1.0
    )
    running.wait_ready()
    yield running
    running.stop()


def test_beyond_its_room_it_refuses_with_a_hint(narrow: RunningGateway) -> None:
    big = batch_request(some(1, message=pb.MessageContent(text="x" * 30_000)))
    with pytest.raises(grpc.RpcError) as caught:
        narrow.server.IngestEventBatch(big, metadata=narrow.keys.full.metadata)
    refused = refused_by_grpc(caught.value)
    assert (refused.code, refused.retry_after) == ("RESOURCE_EXHAUSTED", 1.0)
    over_http = refused_by_http(narrow.http.post("/events/batch", content=big.SerializeToString(), headers=PROTOBUF))
    assert (over_http.code, over_http.retry_after) == ("429", 1.0)
    assert narrow.gateway.admission.used_bytes == 0
    small = batch_request(some(3))
    assert narrow.server.IngestEventBatch(small, metadata=narrow.keys.full.metadata).accepted_count == 3


def announce(gateway: RunningGateway, length: int) -> socket.socket:
    """A connection that promises a body of `length` bytes and sends three of them."""
    connection = socket.create_connection(("127.0.0.1", gateway.ports.http), timeout=10)
    key = gateway.keys.full.headers["authorization"]
    head = f"POST /events HTTP/1.1\r\nhost: x\r\nauthorization: {key}\r\ncontent-type: application/x-protobuf\r\n"
    connection.sendall(f"{head}content-length: {length}\r\n\r\nabc".encode())
    return connection


def test_a_body_that_is_announced_takes_its_room_before_it_is_read(narrow: RunningGateway) -> None:
    with announce(narrow, 15_000) as slow:
        wait_for("the room to be taken", lambda: narrow.gateway.admission.used_bytes == 15_000, seconds=5)
        body = batch_request(some(1, message=pb.MessageContent(text="x" * 6_000))).SerializeToString()
        assert narrow.http.post("/events/batch", content=body, headers=PROTOBUF).status_code == 429
        answer = b"".join(iter(lambda: slow.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert narrow.gateway.admission.used_bytes == 0


def test_a_client_that_leaves_while_sending_leaves_nothing_behind(narrow: RunningGateway) -> None:
    with announce(narrow, 9_000):
        wait_for("the room to be taken", lambda: narrow.gateway.admission.used_bytes == 9000, seconds=5)
    wait_for("the room to be given back", lambda: narrow.gateway.admission.used_bytes == 0, seconds=5)


def test_the_real_sdk_drains_twenty_thousand_queued_events(gateway: RunningGateway, raw: RawTopic) -> None:
    config = ChaukasConfig(
        tenant_id=TENANT, project_id=PROJECT, endpoint=gateway.url, api_key=gateway.keys.full.text, batch_size=10**9
    )
    events = some(20_000, metadata={"k": "v" * 200})

    async def drain() -> int:
        client = ChaukasClient(config=config)
        await client.send_events(events)
        await client.flush()
        left = len(client._events_queue)
        await client.close()
        return left

    assert asyncio.run(drain()) == 0
    ids = {dict(record.headers())["event_id"].decode() for record in raw.read(20_000, seconds=60)}
    assert ids == {each.event_id for each in events}


def test_the_real_sdk_splits_a_batch_beyond_the_limit(
    gateway_topics: KafkaSettings, raw: RawTopic, tmp_path: Path
) -> None:
    running = RunningGateway(gateway_topics, tmp_path, http_max_body_bytes=200_000)
    running.wait_ready()
    config = ChaukasConfig(
        tenant_id=TENANT, project_id=PROJECT, endpoint=f"{running.url}/v1", api_key=running.keys.full.text
    )
    events = some(1000, metadata={"k": "v" * 150})
    assert 200_000 < batch_request(events).ByteSize() < 390_000

    async def drain() -> int:
        client = ChaukasClient(config=config, batch_size=10**9)
        await client.send_events(events)
        await client.flush()
        left = len(client._events_queue)
        await client.close()
        return left

    try:
        assert asyncio.run(drain()) == 0
        assert len(raw.read(1000)) == 1000
        assert running.metric("gateway_requests_total", door="http", method="/events/batch", code="503") == 1
    finally:
        running.stop()


def test_it_stops_in_order_and_finishes_what_it_began(gateway_topics: KafkaSettings, tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    running = Process(gateway_topics, keys, GATEWAY_LINGER_MS="700", GATEWAY_SHUTDOWN_SECONDS="10")
    try:
        wait_for("the process to be ready", running.ready, seconds=30)
        body = batch_request(some(10)).SerializeToString()
        headers = {**PROTOBUF, **keys.full.headers}
        with ThreadPoolExecutor(2) as pool:
            over_http = pool.submit(
                httpx.post, f"{running.url}/events/batch", content=body, headers=headers, timeout=30
            )
            channel: Any = grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}")
            stub = channel.unary_unary("/chaukas.spec.server.v1.ChaukasServerService/IngestEventBatch")
            over_grpc = pool.submit(stub, body, metadata=keys.full.metadata, timeout=30)
            inflight = "gateway_inflight_bytes"

            def both_in_flight() -> bool:
                for line in httpx.get(f"{running.url}/metrics").text.splitlines():
                    if line.startswith(f"{inflight} "):
                        return float(line.split()[1]) >= 2 * len(body)
                return False

            wait_for("both calls to be in flight", both_in_flight, seconds=10, every=0.01)
            running.process.send_signal(signal.SIGTERM)
            assert over_http.result().json()["accepted_count"] == 10
            assert server_pb2.IngestEventBatchResponse.FromString(over_grpc.result()).accepted_count == 10
            channel.close()
        _, log = running.process.communicate(timeout=15)
        assert running.process.returncode == 0
        lines = [json.loads(line) for line in log.splitlines()]
        assert lines[-1]["event"] == "gateway_stopped"
        assert all({"event", "level", "timestamp", "process"} <= line.keys() for line in lines)
        assert not any(keys.full.text in line for line in log.splitlines())
    finally:
        running.process.kill()
        running.process.wait()


def test_a_wrong_setting_stops_it_at_the_start(gateway_topics: KafkaSettings, tmp_path: Path) -> None:
    running = Process(gateway_topics, KeyFile(tmp_path / "keys.json"), GATEWAY_DEADLINE_SECONDS="soon")
    _, log = running.process.communicate(timeout=30)
    assert running.process.returncode == 2
    assert "GATEWAY_DEADLINE_SECONDS='soon'" in log


def test_several_processes_share_the_ports(gateway_topics: KafkaSettings, tmp_path: Path) -> None:
    first = Process(gateway_topics, KeyFile(tmp_path / "keys.json"))
    second = first.spawn()
    try:
        for process in (first.process, second):
            assert process.stderr is not None
            assert any(json.loads(line)["event"] == "kafka_ready" for line in process.stderr)
        first.process.terminate()
        assert first.process.wait(15) == 0
        assert httpx.get(f"{first.url}/readyz").status_code == 200
    finally:
        for process in (first.process, second):
            process.kill()
            process.communicate()


def test_a_port_of_somebody_else_is_a_clear_error(gateway_topics: KafkaSettings, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for name in ("GATEWAY_HTTP_PORT", "GATEWAY_GRPC_PORT"):
            running = Process(gateway_topics, KeyFile(tmp_path / "keys.json"), **{name: port})
            _, log = running.process.communicate(timeout=30)
            assert running.process.returncode == 1
            assert "cannot_listen" in log
