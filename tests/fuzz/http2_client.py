"""gRPC over frames written by hand, many calls at once on a connection: cheap enough for a load, and free to be wrong.

Like :mod:`tests.support.raw_http2`, on an event loop and with the status of each call: the peer is told to keep no table of
headers (SETTINGS_HEADER_TABLE_SIZE 0), so that its answers are literals.
"""

from __future__ import annotations

import asyncio
import base64
import struct

import grpc

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS = 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME_BYTES = 16_384
_NAMES = {str(code.value[0]).encode(): code.name for code in grpc.StatusCode}


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def hpack_string(text: bytes) -> bytes:
    """A literal, not compressed."""
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest, encoded = len(text) - 127, bytearray([127])
    while rest >= 128:
        encoded.append(rest % 128 + 128)
        rest //= 128
    encoded.append(rest)
    return bytes(encoded) + text


def header_block(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Literals without indexing."""
    return b"".join(b"\x00" + hpack_string(name) + hpack_string(value) for name, value in headers)


def hpack_binary(value: bytes) -> bytes:
    """The value of a header whose name ends with -bin."""
    return base64.b64encode(value).rstrip(b"=")


def call_headers(path: bytes, extra: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """What every gRPC call begins with."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        *extra,
    ]


class Http2Client(asyncio.Protocol):
    """One connection. ``await call(…)`` answers with a status's name, or how the call ended without one."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._next = 1
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self._status: dict[int, str] = {}
        self._room = self._stream_room = 65_535
        self._rooms: dict[int, int] = {}
        self._unacknowledged = 0
        self._changed = asyncio.Event()
        self.closed = False
        #: Set when the connection is closed.
        self.ended = asyncio.Event()
        #: The peer takes no new calls.
        self.went_away = False

    @classmethod
    async def connect(cls, port: int) -> Http2Client:
        """To the loopback address; raises ConnectionError."""
        _, client = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return client

    async def call(
        self, headers: list[tuple[bytes, bytes]], data: bytes, *, ends: bool = True, resets: bool = False
    ) -> str:
        """One call with `data` as its body. `ends` False leaves it open, `resets` takes it back: then how it ended is not known
        before the peer says so, which is "RESET" here."""
        stream, self._next = self._next, self._next + 2
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[stream] = waiting
        self._rooms[stream] = self._stream_room
        self.write(
            frame(HEADERS, END_HEADERS | (END_STREAM if ends and not data else 0), stream, header_block(headers))
        )
        at = 0
        while at < len(data) and stream in self._waiting:
            size = min(len(data) - at, _FRAME_BYTES, self._room, self._rooms.get(stream, 0))
            if size <= 0:
                self._changed.clear()
                await self._changed.wait()
                continue
            self._room -= size
            self._rooms[stream] -= size
            last = ends and at + size == len(data)
            self.write(frame(DATA, END_STREAM if last else 0, stream, data[at : at + size]))
            at += size
        if resets and stream in self._waiting:
            self.write(frame(RST_STREAM, 0, stream, struct.pack(">I", 8)))
            self._end(stream, "RESET")
        return str(await waiting)

    def write(self, data: bytes) -> None:
        """Frames as they are."""
        if self._transport is not None and not self.closed:
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # No table of headers, and windows that never close.
        settings = struct.pack(">HIHI", 1, 0, 4, 1 << 30)
        self.write(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= 9:
            size = int.from_bytes(self._buffer[at : at + 3], "big")
            if len(self._buffer) - at - 9 < size:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self._buffer, at + 3)
            payload = bytes(self._buffer[at + 9 : at + 9 + size])
            at += 9 + size
            self._frame(kind, flags, stream & 0x7FFFFFFF, payload)
        del self._buffer[:at]

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.ended.set()
        for stream in list(self._waiting):
            self._end(stream, "closed")
        self._changed.set()

    # -- frames

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == HEADERS:
            status = grpc_status(payload)
            if status:
                self._status[stream] = status
        elif kind == DATA:
            self._unacknowledged += len(payload)
            if self._unacknowledged > 1 << 28:
                self.write(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._unacknowledged)))
                self._unacknowledged = 0
        elif kind == SETTINGS and not flags & ACK:
            for name, value in struct.iter_unpack(">HI", payload):
                if name == 4:
                    for other in self._rooms:
                        self._rooms[other] += value - self._stream_room
                    self._stream_room = value
            self.write(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.write(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            size = struct.unpack(">I", payload)[0]
            if stream:
                self._rooms[stream] = self._rooms.get(stream, 0) + size
            else:
                self._room += size
            self._changed.set()
        elif kind == GOAWAY:
            self.went_away = True
        if kind == RST_STREAM:
            self._end(stream, self._status.get(stream, f"stream error {int.from_bytes(payload, 'big')}"))
        elif kind in (HEADERS, DATA) and flags & END_STREAM:
            self._end(stream, self._status.get(stream, "no status"))

    def _end(self, stream: int, how: str) -> None:
        waiting = self._waiting.pop(stream, None)
        self._rooms.pop(stream, None)
        self._status.pop(stream, None)
        self._changed.set()
        if waiting is not None and not waiting.done():
            waiting.set_result(how)


def grpc_status(block: bytes) -> str:
    """The name of ``grpc-status`` in a header block of literals; empty when it has none."""
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            _, at = _integer(block, at, 7)
            continue
        if first & 0xE0 == 0x20:  # the size of the table
            _, at = _integer(block, at, 5)
            continue
        index, at = _integer(block, at, 6 if first & 0x40 else 4)
        name = b""
        if index == 0:
            name, at = _string(block, at)
        value, at = _string(block, at)
        if name == b"grpc-status":
            return _NAMES.get(value, f"status {value!r}")
    return ""


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    value = block[at] & most
    at += 1
    if value == most:
        shift = 0
        while True:
            byte = block[at]
            at += 1
            value += (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
    return value, at


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """As it stands, Huffman-coded ones too: none of them is of interest."""
    size, at = _integer(block, at, 7)
    return block[at : at + size], at + size
