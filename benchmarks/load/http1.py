"""An HTTP/1.1 caller: one request at a time on a connection that is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

#: The code of a call whose connection was lost.
RESET = "reset"
_LENGTH = b"content-length: "

#: Called with the call's number and the status.
Done = Callable[[int, str], None]


class HttpConnection(asyncio.Protocol):
    """One connection. An answer has a length, as every answer of ours does."""

    def __init__(self, path: str, key: str, done: Done) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.under_way = 0
        self._done = done
        self._number = 0
        self._buffer = b""
        # What httpx sends for the SDK.
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
            f"Connection: keep-alive\r\nUser-Agent: bench\r\nAuthorization: Bearer {key}\r\n"
            "Content-Type: application/x-protobuf\r\nContent-Length: "
        ).encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.ready.set_result(None)

    def call(self, number: int, body: bytes) -> None:
        """Begin a call; the one before it is over."""
        self.under_way, self._number = 1, number
        self._transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        head = buffer.find(b"\r\n\r\n")
        if head >= 0:
            at = buffer.lower().find(_LENGTH, 0, head) + len(_LENGTH)
            if len(buffer) >= head + 4 + int(buffer[at : buffer.index(b"\r", at)]):
                self._buffer = b""
                self.under_way = 0
                self._done(self._number, buffer[9:12].decode())
                return
        self._buffer = buffer

    def connection_lost(self, exc: Exception | None) -> None:
        if self.under_way:
            self.under_way = 0
            self._done(self._number, RESET)

    def close(self) -> None:
        self._transport.close()
