"""Small requests that would become large ones: refused, or bounded, before memory grows; others are served meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import struct
import zlib
from collections.abc import Callable

import httpx
import psutil
import pytest

from tests.fuzz.http2_client import Http2Client, call_headers
from tests.fuzz.wire_shapes import field
from tests.support.events import event
from tests.support.stack import Client, Stack

MIB = 1 << 20
BATCH = b"/chaukas.spec.server.v1.ChaukasServerService/IngestEventBatch"
#: More than an honest request of the largest size costs, less than a bomb would.
MOST_GROWTH = 120 * MIB


def gateway_memory(stack: Stack) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in stack.pids("gateway").values())


def http_bomb(stack: Stack, encoding: str, body: bytes, content_type: str) -> str:
    headers = {"authorization": f"Bearer {stack.endpoints.api_key}", "content-type": content_type}
    if encoding:
        headers["content-encoding"] = encoding
    answer = httpx.post(f"{stack.endpoints.http_url}/v1/events/batch", content=body, headers=headers, timeout=60)
    return str(answer.status_code)


def grpc_bomb(stack: Stack, encoding: str, message: bytes) -> str:
    async def call() -> str:
        client = await Http2Client.connect(int(stack.endpoints.grpc_target.rpartition(":")[2]))
        try:
            key = f"Bearer {stack.endpoints.api_key}".encode()
            headers = call_headers(BATCH, [(b"authorization", key), (b"grpc-encoding", encoding.encode())])
            body = struct.pack(">BI", bool(encoding != "identity"), len(message)) + message
            return await asyncio.wait_for(client.call(headers, body), 60)
        finally:
            client.close()

    return asyncio.run(call())


def zeros() -> bytes:
    return gzip.compress(bytes(512 * MIB), 1)


BOMBS: dict[str, tuple[Callable[[Stack], str], set[str]]] = {
    "HTTP gzip": (lambda stack: http_bomb(stack, "gzip", zeros(), "application/json"), {"415"}),
    "HTTP deflate": (
        lambda stack: http_bomb(stack, "deflate", zlib.compress(bytes(512 * MIB), 1), "application/x-protobuf"),
        {"415"},
    ),
    "gRPC gzip": (lambda stack: grpc_bomb(stack, "gzip", zeros()), {"RESOURCE_EXHAUSTED", "INTERNAL", "CANCELLED"}),
    "gRPC deflate": (
        lambda stack: grpc_bomb(stack, "deflate", zlib.compress(bytes(512 * MIB), 1)),
        {"RESOURCE_EXHAUSTED", "INTERNAL", "CANCELLED"},
    ),
    "JSON nesting": (lambda stack: http_bomb(stack, "", b"[" * 4_000_000, "application/json"), {"400"}),
    "JSON laughs": (
        lambda stack: http_bomb(stack, "", b'{"events":[' + b"[]," * 1_000_000 + b"[]]}", "application/json"),
        {"413"},
    ),
    "JSON number": (
        lambda stack: http_bomb(stack, "", b'{"events":[' + b"1" * 4_000_000 + b"]}", "application/json"),
        {"400"},
    ),
    "empty events": (lambda stack: grpc_bomb(stack, "identity", field(1, 2, b"\x1a\x00" * 1_000_000)), {"INVALID_ARGUMENT"}),
    "empty fields": (
        # One event of 1 MiB less a little: half a million tags.
        lambda stack: grpc_bomb(stack, "identity", field(1, 2, field(3, 2, b"\xb2\x01\x00" * 340_000))),
        {"OK"},
    ),
    "groups": (
        lambda stack: grpc_bomb(stack, "identity", field(1, 2, field(3, 2, b"\x8b\x01" * 500_000))),
        {"OK", "INVALID_ARGUMENT"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_does_not_go_off(loud_stack: Stack, name: str) -> None:
    send, expected = BOMBS[name]
    before, pids = gateway_memory(loud_stack), loud_stack.pids("gateway")
    assert send(loud_stack) in expected
    assert gateway_memory(loud_stack) - before < MOST_GROWTH
    assert loud_stack.pids("gateway") == pids
    client = Client(loud_stack)
    try:
        endpoints = loud_stack.endpoints
        client.send_until_accepted([event(tenant=endpoints.tenant_id, project=endpoints.project_id, session="after")])
    finally:
        client.close()
