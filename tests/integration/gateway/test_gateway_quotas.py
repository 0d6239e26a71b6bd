"""Quotas and shares as clients meet them on both doors. No Kafka: what is refused here never gets there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from chaukas.spec.server.v1 import server_pb2

from contracts import api_keys
from contracts.identity import RateLimits, Scope
from runtime.keyfile import write_keys
from runtime.settings import KafkaSettings, load
from tests.integration.gateway.harness import (
    PROJECT,
    TENANT,
    Key,
    Refused,
    RunningGateway,
    batch_request,
    refused_by_grpc,
    refused_by_http,
)
from tests.support.events import event
from tests.support.waiting import wait_for

NO_KAFKA = load(KafkaSettings, bootstrap_servers="127.0.0.1:1")
PROTOBUF = {"content-type": "application/x-protobuf"}
#: What a call gets that was let through: Kafka is away.
LET_THROUGH = {"UNAVAILABLE", "503"}


def running(directory: Path, **settings: Any) -> RunningGateway:
    quick = {"deadline_seconds": 0.05, "delivery_seconds": 60, "shutdown_seconds": 0.5}
    return RunningGateway(NO_KAFKA, directory, **quick, **settings)


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[RunningGateway]:
    """A key may send an event every 100 s, and 1,000 at once."""
    made = running(tmp_path, key_events_per_second=0.01, quota_burst_seconds=3600, tenant_bytes_per_second=1e6)
    yield made
    made.stop()


def send(gateway: RunningGateway, door: str, count: int, key: Key, tenant: str = TENANT) -> Refused:
    """What a batch of `count` events gets."""
    request = batch_request([event(tenant=tenant, project=PROJECT) for _ in range(count)])
    if door == "grpc":
        with pytest.raises(grpc.RpcError) as caught:
            gateway.server.IngestEventBatch(request, metadata=key.metadata)
        return refused_by_grpc(caught.value)
    body = request.SerializeToString()
    content: Any = body if door == "http" else iter([body[:10], body[10:]])
    return refused_by_http(gateway.http.post("/events/batch", content=content, headers={**PROTOBUF, **key.headers}))


@pytest.mark.parametrize("door", ["grpc", "http", "http in chunks"])
def test_beyond_its_quota_a_key_is_told_how_long_to_wait(limited: RunningGateway, door: str) -> None:
    key = limited.keys.full
    # 3,600 seconds of 0.01 a second: 36 at once.
    assert send(limited, door, 30, key).code in LET_THROUGH
    refused = send(limited, door, 10, key)
    assert refused.code in ("RESOURCE_EXHAUSTED", "429")
    assert refused.retry_after == pytest.approx(400, abs=3), "(30 + 10 - 36) / 0.01"
    assert "quota of 0.01 events per second" in refused.text
    assert send(limited, door, 6, key).code in LET_THROUGH, "nothing of the refused one was counted"
    other = limited.keys.ingest_only
    assert send(limited, door, 10, other).code in LET_THROUGH
    assert limited.metric("gateway_quota_refused_total", quota="key_events") == 1


@pytest.mark.parametrize("door", ["grpc", "http", "http in chunks"])
def test_bytes_are_charged_before_they_are_parsed(tmp_path: Path, door: str) -> None:
    gateway = running(tmp_path, tenant_bytes_per_second=10, quota_burst_seconds=100)
    try:
        assert send(gateway, door, 100, gateway.keys.full).code in LET_THROUGH, (
            "larger than the burst, which is all there"
        )
        refused = send(gateway, door, 1, gateway.keys.ingest_only)
        assert refused.code in ("RESOURCE_EXHAUSTED", "429")
        size = batch_request([event(tenant=TENANT, project=PROJECT) for _ in range(100)]).ByteSize()
        assert refused.retry_after == pytest.approx((size - 1000) / 10, rel=0.1)
        garbage = gateway.http.post("/events/batch", content=b"\xff" * 100, headers=PROTOBUF)
        assert garbage.status_code == 429, "not 400: nobody looked at it"
    finally:
        gateway.stop()


def test_a_key_has_the_quota_it_was_given(tmp_path: Path) -> None:
    gateway = running(tmp_path, key_events_per_second=1000)
    try:
        text, entry = api_keys.generate(TENANT, None, [Scope.INGEST], limits=RateLimits(events_per_second=0.5))
        gateway.keys.stored.append(entry)
        write_keys(gateway.keys.path, gateway.keys.stored)
        key = Key(text)
        wait_for(
            "the key to be known",
            lambda: gateway.http.get("/capabilities", headers=key.headers).status_code == 200,
            seconds=10,
        )
        assert send(gateway, "grpc", 5, key).code in LET_THROUGH
        assert send(gateway, "grpc", 1, key).retry_after == pytest.approx(2, abs=1)
    finally:
        gateway.stop()


def test_while_one_tenant_fills_the_room_another_gets_in(tmp_path: Path) -> None:
    """Uploads that do not end hold what they announced; the other tenant comes each time the noisy one was refused."""
    gateway = running(tmp_path, inflight_max_bytes=1_000_000)
    noisy, quiet = gateway.keys.full, gateway.keys.add(tenant="quiet")
    held: list[socket.socket] = []
    try:
        wait_for(
            "the key to be known",
            lambda: gateway.http.get("/capabilities", headers=quiet.headers).status_code == 200,
            seconds=10,
        )
        refused = 0
        for _ in range(30):
            upload = socket.create_connection(("127.0.0.1", gateway.ports.http), timeout=10)
            held.append(upload)
            upload.sendall(
                b"POST /events/batch HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
                b"content-length: 50000\r\nauthorization: Bearer " + noisy.text.encode() + b"\r\n\r\n"
            )
            upload.settimeout(0.05)
            try:
                refused += upload.recv(12) == b"HTTP/1.1 429"
            except TimeoutError:
                pass  # it was taken, and is waited for
            assert send(gateway, "http", 1, quiet, tenant="quiet").code in LET_THROUGH
            assert send(gateway, "grpc", 1, quiet, tenant="quiet").code in LET_THROUGH
            if refused == 3:
                break
        assert refused == 3, "the noisy tenant is the one that is refused"
        held_by_noisy = gateway.gateway.admission.used_bytes / 1_000_000
        assert 0.8 < held_by_noisy < 0.9, "8/9, in steps of 1/20"
    finally:
        for upload in held:
            upload.close()
        gateway.stop()


def test_queries_are_no_events(limited: RunningGateway) -> None:
    """A key that may send nothing more may still ask."""
    key = limited.keys.full
    assert send(limited, "grpc", 100, key).code in LET_THROUGH
    assert send(limited, "grpc", 1, key).code == "RESOURCE_EXHAUSTED"
    limited.server.GetCapabilities(server_pb2.GetCapabilitiesRequest(), metadata=key.metadata)
    with pytest.raises(grpc.RpcError) as caught:
        limited.server.GetEventStats(server_pb2.GetEventStatsRequest(), metadata=key.metadata)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
