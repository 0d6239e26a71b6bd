"""A gRPC client made of frames, for what no library does: half a message, silence, windows that never open.

Only as much of HTTP/2 as that takes; headers are sent as literals, what the server says of them is not decoded.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import Self

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK = END_STREAM = 1
_END_HEADERS = 4
_FRAME_BYTES = 16 * 1024
_WINDOW = 65_535


def grpc_message(payload: bytes, *, compressed: bool = False) -> bytes:
    """A message as it stands in DATA frames."""
    return struct.pack(">BI", compressed, len(payload)) + payload


class RawConnection:
    """One connection with a reader thread that answers pings and settings and keeps the windows."""

    def __init__(self, port: int, *, answers_pings: bool = True) -> None:
        self._answers_pings = answers_pings
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(None)
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._window = _WINDOW
        self._stream_window = _WINDOW
        self._windows: dict[int, int] = {}
        self._next_stream = 1
        #: Streams the server ended, by their last frame's type.
        self.ended: dict[int, int] = {}
        self.went_away = False
        self.closed = False
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self._send(SETTINGS, 0, 0)
        threading.Thread(target=self._read, daemon=True).start()

    def open(self, path: str, metadata: tuple[tuple[str, str], ...] = ()) -> int:
        """Begin a call; its stream."""
        headers = (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *metadata,
        )
        with self._changed:
            stream, self._next_stream = self._next_stream, self._next_stream + 2
            self._windows[stream] = self._stream_window
        block = b"".join(b"\x00" + _string(name) + _string(value) for name, value in headers)
        self._send(HEADERS, _END_HEADERS, stream, block)
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False, seconds: float = 10) -> int:
        """Send as far as the windows let us within `seconds`; how many bytes that was."""
        sent = 0
        while sent < len(data):
            with self._changed:
                if not self._changed.wait_for(lambda: self._room(stream) > 0 or self._over(stream), seconds):
                    return sent
                if self._over(stream):
                    return sent
                size = min(self._room(stream), _FRAME_BYTES, len(data) - sent)
                self._window -= size
                self._windows[stream] -= size
            last = end and sent + size == len(data)
            self._send(DATA, END_STREAM if last else 0, stream, data[sent : sent + size])
            sent += size
        return sent

    def cancel(self, stream: int) -> None:
        self._send(RST_STREAM, 0, stream, struct.pack(">I", 8))

    def ping(self) -> None:
        self._send(PING, 0, 0, bytes(8))

    def wait_ended(self, stream: int, seconds: float = 10) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: stream in self.ended or self.closed, seconds)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # the reader's call keeps the socket open else
        self._socket.close()

    def reset(self) -> None:
        """Leave without a word, by a TCP reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _over(self, stream: int) -> bool:
        return self.closed or stream in self.ended

    def _room(self, stream: int) -> int:
        return min(self._window, self._windows[stream])

    def _send(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        frame = struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload
        with self._lock:
            try:
                self._socket.sendall(frame)
            except OSError:
                self.closed = True

    def _read(self) -> None:
        try:
            while head := self._exactly(9):
                kind, flags, stream = struct.unpack(">BBI", head[3:])
                payload = self._exactly(int.from_bytes(head[:3], "big"))
                self._frame(kind, flags, stream & 0x7FFFFFFF, payload)
        except (OSError, EOFError):
            pass
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        with self._changed:
            if kind == SETTINGS and not flags & _ACK:
                for name, value in struct.iter_unpack(">HI", payload):
                    if name == 4:  # INITIAL_WINDOW_SIZE
                        for open_stream in self._windows:
                            self._windows[open_stream] += value - self._stream_window
                        self._stream_window = value
            elif kind == WINDOW_UPDATE:
                size = struct.unpack(">I", payload)[0]
                if stream:
                    self._windows[stream] = self._windows.get(stream, 0) + size
                else:
                    self._window += size
            elif kind == RST_STREAM or (kind in (HEADERS, DATA) and flags & END_STREAM):
                self.ended.setdefault(stream, kind)
            elif kind == GOAWAY:
                self.went_away = True
            self._changed.notify_all()
        if kind == SETTINGS and not flags & _ACK:
            self._send(SETTINGS, _ACK, 0)
        elif kind == PING and not flags & _ACK and self._answers_pings:
            self._send(PING, _ACK, 0, payload)

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            data = self._socket.recv(count - len(found))
            if not data:
                raise EOFError
            found += data
        return found


def _string(text: str) -> bytes:
    """An HPACK string, not compressed."""
    data = text.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, encoded = len(data) - 127, bytearray([127])
    while rest >= 128:
        encoded.append(rest % 128 + 128)
        rest //= 128
    encoded.append(rest)
    return bytes(encoded) + data
