"""A request that two readers could end at different places is refused, and what stands behind it is no request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from runtime.http import EmbeddedServer, Receive, Scope, Send, embedded, listen, respond

#: What an attacker wants to be taken for a request of the next client on the same connection.
HIDDEN = b"GET /hidden HTTP/1.1\r\nhost: x\r\n\r\n"


@dataclass
class Server:
    """Notes what it was asked for."""

    paths: list[str] = field(default_factory=list)
    uvicorn: EmbeddedServer = field(init=False)
    address: tuple[str, int] = field(init=False)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])
        while (event := await receive()).get("more_body", False):
            pass
        if event["type"] != "http.disconnect":
            await respond(send, 200, b"hello", "text/plain")

    async def exchange(self, data: bytes) -> bytes:
        """Everything that comes back for `data`, until the server closes or has waited for a while."""
        reader, writer = await asyncio.open_connection(*self.address)
        received = b""
        try:
            writer.write(data)
            async with asyncio.timeout(0.3):
                while part := await reader.read(65536):
                    received += part
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.close()
        return received


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    sock = listen("127.0.0.1", 0)
    made.address = sock.getsockname()
    made.uvicorn = embedded(made.app)
    task = asyncio.create_task(made.uvicorn.serve(sockets=[sock]))
    yield made
    made.uvicorn.should_exit = True
    await task


def post(*lines: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join((b"POST /first " + version, b"host: x", *lines, b"", b""))


CHUNKED = b"transfer-encoding: chunked"
#: Readers differ on where these end.
TWO_ENDS: dict[str, bytes] = {
    "CL.TE": post(b"content-length: %d" % (5 + len(HIDDEN)), CHUNKED) + b"0\r\n\r\n" + HIDDEN,
    "TE.CL": post(CHUNKED, b"content-length: 4") + b"%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n0\r\n\r\n",
    "two lengths": post(b"content-length: 0", b"content-length: %d" % len(HIDDEN)) + HIDDEN,
    "two lengths, the other way": post(b"content-length: %d" % len(HIDDEN), b"content-length: 0") + HIDDEN,
    "a list of lengths": post(b"content-length: 0, %d" % len(HIDDEN)) + HIDDEN,
    "a signed length": post(b"content-length: +0") + HIDDEN,
    "a negative length": post(b"content-length: -1") + HIDDEN,
    "a hexadecimal length": post(b"content-length: 0x0") + HIDDEN,
    "a length beyond 64 bits": post(b"content-length: 18446744073709551616") + HIDDEN,
    "a space before the colon": post(b"content-length : 0") + HIDDEN,
    "chunked, spelled oddly": post(b"transfer-encoding: xchunked") + b"0\r\n\r\n" + HIDDEN,
    "chunked, not last": post(b"transfer-encoding: chunked, identity") + b"0\r\n\r\n" + HIDDEN,
    "chunked behind a tab": post(b"transfer-encoding:\x0bchunked") + b"0\r\n\r\n" + HIDDEN,
    "chunked with a space before the colon": post(b"transfer-encoding : chunked") + b"0\r\n\r\n" + HIDDEN,
    "a bare LF in the head": post(b"x: y\ncontent-length: 0") + HIDDEN,
    "a bare CR in the head": post(b"x: y\rcontent-length: 0") + HIDDEN,
    "NUL in a name": post(b"content-length\x00: 0") + HIDDEN,
    "chunks with a bare LF": post(CHUNKED) + b"0\n\n" + HIDDEN,
    "a signed chunk": post(CHUNKED) + b"-1\r\n" + HIDDEN,
    "a chunk beyond 64 bits": post(CHUNKED) + b"fffffffffffffffff\r\n" + HIDDEN,
    "a chunk with 0x": post(CHUNKED) + b"0x0\r\n\r\n" + HIDDEN,
    "a chunk without its end": post(CHUNKED) + b"1\r\nX" + HIDDEN,
}


@pytest.mark.parametrize("name", TWO_ENDS)
async def test_a_request_with_two_ends_hides_nothing(server: Server, name: str) -> None:
    received = await server.exchange(TWO_ENDS[name])
    assert "/hidden" not in server.paths
    assert received.count(b"HTTP/1.1 200") <= 1
    assert b"HTTP/1.1 5" not in received


async def test_folded_headers_are_no_second_line(server: Server) -> None:
    received = await server.exchange(post(b"x: y", b" content-length: 100", b"content-length: 0") + HIDDEN)
    # Folded or refused: either way the body is empty, or nothing is served.
    assert server.paths in ([], ["/first", "/hidden"])
    assert b"HTTP/1.1 5" not in received


async def test_nothing_is_served_behind_an_error(server: Server) -> None:
    received = await server.exchange(b"GET /one HTTP/1.1\r\nhost: x\r\n\r\nNONSENSE\r\n\r\n" + HIDDEN)
    assert "/hidden" not in server.paths
    assert received.count(b"HTTP/1.1 ") <= 1


async def test_the_absolute_form_and_connect_reach_nobody_else(server: Server) -> None:
    received = await server.exchange(b"GET http://other.example/path HTTP/1.1\r\nhost: x\r\n\r\n")
    assert server.paths == ["/path"]
    assert received.startswith(b"HTTP/1.1 200")
    server.paths.clear()
    received = await server.exchange(b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b"HTTP/1.1 200" not in received
    assert server.paths == []


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    parts = [b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % number for number in range(10)]
    received = await server.exchange(b"".join(parts))
    assert received.count(b"HTTP/1.1 200") == 10
    assert server.paths == [f"/{number}" for number in range(10)]


async def test_an_upgrade_is_not_taken(server: Server) -> None:
    head = post(b"connection: upgrade", b"upgrade: h2c", b"content-length: 0")
    received = await server.exchange(head)
    assert b"101" not in received.split(b"\r\n")[0]
