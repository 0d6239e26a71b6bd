"""What a client can make the gateway hold: half messages, silence, floods, answers it does not read."""

from __future__ import annotations

import gzip
import json
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import httpx
import psutil
import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2

from runtime.settings import KafkaSettings
from tests.integration.gateway.harness import (
    PROJECT,
    TENANT,
    FakeSink,
    RunningGateway,
    batch_request,
    refused_by_grpc,
)
from tests.support.events import event
from tests.support.raw_http2 import RawConnection, grpc_message
from tests.support.waiting import wait_for

BATCH = "/chaukas.spec.server.v1.ChaukasServerService/IngestEventBatch"
MIB = 1 << 20


def some(count: int, **fields: Any) -> list[pb.Event]:
    return [event(tenant=TENANT, project=PROJECT, **fields) for _ in range(count)]


@pytest.fixture(scope="module")
def sink() -> Iterator[FakeSink]:
    made = FakeSink(lambda method, request, context: b"\x0a" + b"\xff\xff\xbf\x01" + bytes((3 << 20) - 1))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def small(
    gateway_topics: KafkaSettings, tmp_path_factory: pytest.TempPathFactory, sink: FakeSink
) -> Iterator[RunningGateway]:
    """Every bound is low."""
    running = RunningGateway(
        gateway_topics,
        tmp_path_factory.mktemp("small"),
        grpc_slow_messages=2,
        grpc_message_seconds=1.0,
        grpc_max_metadata_bytes=4096,
        grpc_max_connections=20,
        grpc_min_ping_seconds=60,
        grpc_keepalive_seconds=1.0,
        grpc_keepalive_timeout_seconds=1.0,
        http_max_connections=8,
        http_keep_alive_seconds=1.0,
        http_answer_seconds=1.0,
        http_body_seconds=1.0,
        sink_target=f"127.0.0.1:{sink.port}",
    )
    running.wait_ready()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def left_alone(small: RunningGateway) -> Iterator[None]:
    """Nothing is held after a test."""
    yield
    admission = small.gateway.admission
    wait_for("everything to be given back", lambda: (admission.used_bytes, admission.calls) == (0, 0), seconds=10)
    assert small.metric("gateway_slow_messages") == 0


def key_of(gateway: RunningGateway) -> tuple[tuple[str, str], ...]:
    return gateway.keys.full.metadata


def test_a_message_of_a_stranger_is_not_read(small: RunningGateway) -> None:
    memory = psutil.Process().memory_info().rss
    with RawConnection(small.ports.grpc) as connection:
        for _ in range(20):
            stream = connection.open(BATCH)
            connection.send(stream, grpc_message(bytes(15 * MIB))[: 8 * MIB])
            assert connection.wait_ended(stream)
    assert psutil.Process().memory_info().rss - memory < 60 * MIB  # 160 MiB, were they read
    assert small.metric("gateway_requests_total", door="grpc", method="IngestEventBatch", code="UNAUTHENTICATED") >= 20


def test_few_slow_messages_are_waited_for_and_not_for_ever(small: RunningGateway) -> None:
    with RawConnection(small.ports.grpc) as connection:
        streams = [connection.open(BATCH, key_of(small)) for _ in range(3)]
        for stream in streams:
            connection.send(stream, grpc_message(bytes(1000))[:500])
        assert connection.wait_ended(streams[2], seconds=5)  # one too many, refused at once
        # Slow clients take nothing away from others.
        ok = small.server.IngestEventBatch(batch_request(some(1)), metadata=key_of(small))
        assert ok.accepted_count == 1
        for stream in streams:
            assert connection.wait_ended(stream, seconds=5)
    for code in ("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"):
        assert small.metric("gateway_requests_total", door="grpc", method="IngestEventBatch", code=code) >= 1


def test_a_slow_message_that_comes_is_accepted(small: RunningGateway) -> None:
    message = grpc_message(batch_request(some(1)).SerializeToString())
    with RawConnection(small.ports.grpc) as connection:
        stream = connection.open(BATCH, key_of(small))
        connection.send(stream, message[:50])
        wait_for("the message to be slow", lambda: small.metric("gateway_slow_messages") == 1, seconds=5)
        accepted = small.metric("gateway_events_accepted_total", door="grpc")
        connection.send(stream, message[50:], end=True)
        assert connection.wait_ended(stream)
    assert small.metric("gateway_events_accepted_total", door="grpc") == accepted + 1


def test_the_refusal_of_a_slow_message_is_hinted(small: RunningGateway) -> None:
    def never() -> Iterator[bytes]:
        wait_for("the call to end", lambda: call is not None and call.done(), seconds=10)
        yield from ()

    call: Any = None
    send = small.channel.stream_unary(BATCH)
    call = send.future(never(), metadata=key_of(small))
    with pytest.raises(grpc.RpcError) as caught:
        call.result(timeout=10)
    refused = refused_by_grpc(caught.value)
    assert refused.code == "DEADLINE_EXCEEDED"
    assert refused.retry_after == 1.0
    assert "safe" in refused.text


def test_a_call_without_a_message_is_answered(small: RunningGateway) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        small.channel.stream_unary(BATCH)(iter(()), metadata=key_of(small), timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_compressed_message_is_bounded_by_its_real_size(small: RunningGateway) -> None:
    memory = psutil.Process().memory_info().rss
    with RawConnection(small.ports.grpc) as connection:
        stream = connection.open(BATCH, (*key_of(small), ("grpc-encoding", "gzip")))
        connection.send(stream, grpc_message(gzip.compress(bytes(256 * MIB), 1), compressed=True), end=True)
        assert connection.wait_ended(stream)
    assert psutil.Process().memory_info().rss - memory < 100 * MIB


def test_metadata_beyond_its_limit_is_refused(small: RunningGateway) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        small.server.IngestEventBatch(batch_request(some(1)), metadata=(*key_of(small), ("x-filler", "a" * 8000)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "metadata" in str(caught.value.details())


def test_grpc_connections_are_counted(small: RunningGateway) -> None:
    with ExitStack() as opened:
        connections = [opened.enter_context(RawConnection(small.ports.grpc)) for _ in range(24)]
        wait_for("those beyond to be closed", lambda: sum(one.closed for one in connections) >= 4, seconds=5)
        assert not all(one.closed for one in connections)
    ok = wait_for("room again", lambda: _accepted(small), seconds=10)
    assert ok


def _accepted(gateway: RunningGateway) -> bool:
    try:
        sent = gateway.server.IngestEventBatch(batch_request(some(1)), metadata=key_of(gateway), wait_for_ready=True)
    except grpc.RpcError:
        return False
    return bool(sent.accepted_count == 1)


def test_a_client_that_pings_too_often_is_disconnected(small: RunningGateway) -> None:
    with RawConnection(small.ports.grpc) as connection:

        def ping() -> bool:
            connection.ping()
            return connection.went_away

        wait_for("the server to say so", ping, seconds=10)


def test_a_client_that_is_gone_without_a_word_is_noticed(small: RunningGateway) -> None:
    with RawConnection(small.ports.grpc, answers_pings=False) as connection:
        wait_for("the connection to be closed", lambda: connection.closed, seconds=10)


def test_an_answer_that_nobody_reads_is_dropped_in_time(small: RunningGateway) -> None:
    """3 MiB of answer: more than both sockets take."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", small.ports.http))
        head = f"POST /v1/query HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {small.keys.full.text}\r\n"
        connection.sendall(f"{head}accept: application/x-protobuf\r\ncontent-length: 0\r\n\r\n".encode())
        held = wait_for("the answer to be held", lambda: small.gateway.admission.used_bytes, seconds=5)
        assert held >= 3 * MIB
        wait_for("it to be dropped", lambda: small.gateway.admission.used_bytes == 0, seconds=10)


def test_crowded_http_refuses_calls_and_answers_probes(small: RunningGateway) -> None:
    body = batch_request(some(1)).SerializeToString()
    headers = {"content-type": "application/x-protobuf", **small.keys.full.headers}
    with ExitStack() as opened:
        for _ in range(8):
            opened.enter_context(socket.create_connection(("127.0.0.1", small.ports.http)))
        fresh = opened.enter_context(httpx.Client(base_url=small.url))
        answer = fresh.post("/v1/events/batch", content=body, headers=headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert "safe" in answer.json()["error"]
        assert fresh.get("/healthz").status_code == 200
        assert fresh.get("/readyz").status_code == 200
        many = [opened.enter_context(socket.create_connection(("127.0.0.1", small.ports.http))) for _ in range(8)]
        many[-1].settimeout(5)
        assert _closed(many[-1])


def _closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_an_idle_http_connection_is_closed(small: RunningGateway) -> None:
    with socket.create_connection(("127.0.0.1", small.ports.http), timeout=5) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert connection.recv(1) == b""


def test_the_rest_of_a_refused_body_may_not_take_for_ever(small: RunningGateway) -> None:
    with socket.create_connection(("127.0.0.1", small.ports.http), timeout=5) as connection:
        head = b"POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
        connection.sendall(head + b"content-length: 1000000\r\n\r\nabc")
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 401 ")

        def refused() -> bool:
            try:
                connection.sendall(b"x")
            except (BrokenPipeError, ConnectionResetError):
                return True
            return False

        wait_for("the connection to be closed", refused, seconds=10, every=0.1)


def test_a_flood_of_resets_leaves_nothing(small: RunningGateway) -> None:
    """Connections reset in the middle of a body, on both doors."""
    message = grpc_message(batch_request(some(1)).SerializeToString())
    head = f"POST /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {small.keys.full.text}\r\n"
    head += "content-type: application/x-protobuf\r\ncontent-length: 5000\r\n\r\nabc"
    linger = struct.pack("ii", 1, 0)
    for _ in range(30):
        raw = RawConnection(small.ports.grpc)
        raw.send(raw.open(BATCH, key_of(small)), message[:40])
        raw.reset()
        with socket.create_connection(("127.0.0.1", small.ports.http)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.sendall(head.encode())
    ready = wait_for("room again", lambda: _accepted(small), seconds=10)
    assert ready
    assert json.loads(httpx.get(f"{small.url}/readyz").content)["status"] == "ready"


def test_deadlines_of_a_millisecond_leave_nothing(small: RunningGateway) -> None:
    request = server_pb2.IngestEventRequest(event=some(1)[0])
    futures = [small.server.IngestEvent.future(request, metadata=key_of(small), timeout=0.001) for _ in range(300)]
    for future in futures:
        future.exception(timeout=10)
