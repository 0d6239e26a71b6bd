"""The bounds on what comes before, between and after requests, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from runtime import http_protocol
from runtime.http import Bounds, EmbeddedServer, Receive, Scope, Send, embedded, listen, respond

_BIG_BYTES = 32 * 1024 * 1024


@dataclass
class Server:
    """Answers ``hello`` once a request's body is in; /slow when told to, /big at length."""

    release: asyncio.Event = field(default_factory=asyncio.Event)
    requests: int = 0
    #: Requests that were told that their client is gone.
    gone: int = 0
    uvicorn: EmbeddedServer = field(init=False)
    address: tuple[str, int] = field(init=False)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        if scope["path"] == "/slow":
            await self.release.wait()
        while (event := await receive()).get("more_body", False):
            pass
        if event["type"] == "http.disconnect":
            self.gone += 1
        else:
            await respond(send, 200, bytes(_BIG_BYTES) if scope["path"] == "/big" else b"hello", "text/plain")

    @property
    def connections(self) -> int:
        return len(self.uvicorn.server_state.connections)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.address)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    sock = listen("127.0.0.1", 0)
    made.address = sock.getsockname()
    made.uvicorn = embedded(made.app, Bounds(max_connections=4, rest_seconds=0.1, answer_seconds=0.1))
    task = asyncio.create_task(made.uvicorn.serve(sockets=[sock]))
    yield made
    made.release.set()
    made.uvicorn.should_exit = True
    await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in the server
            await asyncio.sleep(0.005)


async def end_of(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection ends, in whichever way."""
    found = b""
    async with asyncio.timeout(5):
        try:
            while data := await reader.read(65536):
                found += data
        except ConnectionError:
            pass
    return found


async def flood(writer: asyncio.StreamWriter, piece: bytes) -> int:
    """Send `piece` again and again until the server closes the connection; how many bytes that took."""
    sent = 0
    async with asyncio.timeout(10):
        while not writer.is_closing():
            try:
                writer.write(piece)
                await writer.drain()
            except ConnectionError:
                break
            sent += len(piece)
            await asyncio.sleep(0)
    return sent


_CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n"


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        pytest.param(_CHUNKED + b"0\r\n", b"x-trailer: " + b"a" * 8000 + b"\r\n", id="many trailers"),
        pytest.param(_CHUNKED + b"0\r\nx-trailer: ", b"a" * 8000, id="a trailer without end"),
        pytest.param(_CHUNKED + b"5;extension=", b"a" * 8000, id="a chunk extension without end"),
        pytest.param(b"", b"\r\n" * 4000, id="empty lines before a request"),
        pytest.param(b"GET / HTTP/1.1\r\nhost: x\r\n", b"x: y\r\n" * 1000, id="many headers"),
    ],
)
async def test_what_is_no_body_is_bounded(server: Server, begin: bytes, piece: bytes) -> None:
    reader, writer = await server.connect()
    writer.write(begin)
    swallow = asyncio.create_task(end_of(reader))
    # What the kernel buffers of two sockets take is far below this.
    assert await flood(writer, piece) < 64 * 1024 * 1024
    await swallow
    await until(lambda: server.connections == 0)
    writer.close()


async def test_trailers_are_dropped(server: Server) -> None:
    reader, writer = await server.connect()
    writer.write(_CHUNKED + b"0\r\nx-trailer: a\r\n\r\n" + b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert (await end_of(reader)).count(b"hello") == 2
    writer.close()


async def test_a_few_requests_may_be_sent_ahead(server: Server) -> None:
    reader, writer = await server.connect()
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 10 + b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert (await end_of(reader)).count(b"hello") == 11
    writer.close()


async def test_many_requests_sent_ahead_are_not_kept(server: Server) -> None:
    reader, writer = await server.connect()
    writer.write(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n" * 1000)
    assert b"400" not in await end_of(reader)  # it would be taken for the answer to the first
    server.release.set()
    await until(lambda: server.connections == 0)
    assert server.requests == 1
    writer.close()


async def test_empty_lines_keep_no_idle_connection_open(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.05)
    reader, writer = await server.connect()
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert await reader.readuntil(b"hello")
    writer.write(b"\r\n")
    assert await end_of(reader) == b""
    writer.close()


async def test_connections_beyond_the_limit(server: Server) -> None:
    """Up to a quarter more are marked, others closed."""
    opened = [await server.connect() for _ in range(5)]
    await until(lambda: server.connections == 5)
    reader, writer = await server.connect()
    assert await end_of(reader) == b""
    for _, each in (*opened, (reader, writer)):
        each.close()


async def test_an_answer_that_is_not_read_does_not_keep_its_connection(server: Server) -> None:
    reader, writer = await server.connect()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
    await until(lambda: server.requests == 1)
    await until(lambda: server.connections == 0)
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    assert 0 < len(await end_of(reader)) < _BIG_BYTES
    writer.close()


async def test_every_pipelined_request_hears_that_its_client_is_gone(server: Server) -> None:
    """uvicorn tells the last of them only; the one at work would write to a connection that is not there any more."""
    reader, writer = await server.connect()
    writer.write(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n" * 3 + b"\x00 this is no request\r\n\r\n")
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    assert server.requests == 1
    await until(lambda: server.connections == 0)
    server.release.set()
    await until(lambda: server.gone == 1)
    writer.close()
