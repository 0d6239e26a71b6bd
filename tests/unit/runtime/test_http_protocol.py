"""The bounds on a request's head, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from runtime import http_protocol
from runtime.http import Receive, Scope, Send, embedded, listen, respond


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, 200, b"hello", "text/plain")


@pytest.fixture
async def address() -> AsyncIterator[tuple[str, int]]:
    sock = listen("127.0.0.1", 0)
    server = embedded(hello)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    yield sock.getsockname()
    server.should_exit = True
    await task


async def test_a_head_in_parts_is_served(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    for part in (b"GET / HT", b"TP/1.1\r\nhost: x\r\n", b"connection: close\r\n\r\n"):
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0)
    assert (await reader.read()).endswith(b"hello")
    writer.close()


async def test_a_head_without_end_is_refused(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n")
    answer = asyncio.create_task(reader.readline())
    while not answer.done():
        writer.write(b"x-filler: " + b"a" * 8000 + b"\r\n")
        try:
            await writer.drain()
        except ConnectionError:
            break
        await asyncio.wait({answer}, timeout=0.005)
    assert (await answer).startswith(b"HTTP/1.1 431 ")
    writer.close()


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nhost: x\r\n"])
async def test_a_head_that_does_not_come_closes_the_connection(
    monkeypatch: pytest.MonkeyPatch, begin: bytes, address: tuple[str, int]
) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(begin)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_a_large_body_is_no_large_head(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    size = 4 * http_protocol.HEAD_MAX_BYTES
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + b"a" * size)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n")
    await writer.drain()
    writer.write(b"connection: close\r\n\r\n")
    assert (await reader.read()).count(b"hello") == 2
    writer.close()
