"""A TCP proxy that misbehaves on request: what a network does to a client, without touching the server behind it.

Faults are switched at run time, each direction by itself, for connections that exist and for new ones. What a black hole holds
back arrives when it closes, as TCP would send it again; so a stream is late or ends, but never arrives altered.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar

T = TypeVar("T")

_CHUNK_BYTES = 64 * 1024
#: A slow direction sends in portions of this time's worth.
_PORTION_SECONDS = 0.02
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


class Mode(enum.Enum):
    PASS = "pass"
    #: Connections are accepted; nothing arrives, nothing is reset, not even an end.
    BLACKHOLE = "blackhole"
    SLOW = "slow"
    #: The connection is reset after so many more bytes in this direction.
    CUT = "cut"
    #: No connection is taken, and those that exist are reset; in one direction means in both.
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one direction. Make it with the functions and constants below."""

    mode: Mode
    bytes_per_second: float = float("inf")
    #: Added to each portion of at most 64 KiB.
    latency_seconds: float = 0.0
    after_bytes: int = 0
    #: Connections to cut before this direction passes again; None: all.
    times: int | None = None


PASS = Fault(Mode.PASS)
BLACKHOLE = Fault(Mode.BLACKHOLE)
REFUSE = Fault(Mode.REFUSE)


def slow(*, bytes_per_second: float = float("inf"), latency_seconds: float = 0.0) -> Fault:
    return Fault(Mode.SLOW, bytes_per_second, latency_seconds)


def cut(after_bytes: int, times: int | None = None) -> Fault:
    """`after_bytes` more bytes of this direction pass on each connection, then it is reset."""
    return Fault(Mode.CUT, after_bytes=after_bytes, times=times)


class FaultProxy:
    """Listens on 127.0.0.1:`port` and forwards to 127.0.0.1:`target_port`, on a thread of its own.

    Methods may be called from any thread and take effect before they return. The port stays the same until :meth:`close`.
    """

    def __init__(self, target_port: int, port: int = 0) -> None:
        self.target_port = target_port
        self._up = self._down = PASS
        self._generation = 0
        self._links: set[_Link] = set()
        # Bound and never listening: nobody else gets the port while connections are refused.
        self._reserved = _bound(port)
        self.port = int(self._reserved.getsockname()[1])
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"fault-proxy-{self.port}", daemon=True)
        self._thread.start()
        self._run(self._apply(PASS, PASS))

    def set(self, both: Fault | None = None, *, up: Fault | None = None, down: Fault | None = None) -> None:
        """Change both directions, or one: `up` is what clients send, `down` what the server answers."""
        self._run(self._apply(up or both or self._up, down or both or self._down))

    def sever(self) -> int:
        """Reset every connection now; how many there were. New ones are as the faults say."""
        return self._run(self._sever())

    @property
    def connections(self) -> int:
        return len(self._links)

    def close(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._reserved.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _apply(self, up: Fault, down: Fault) -> None:
        self._up, self._down = up, down
        self._generation += 1
        self._changed.set()
        self._changed = asyncio.Event()
        if Mode.REFUSE in (up.mode, down.mode):
            await self._stop_listening()
            await self._sever()
        elif self._listener is None:
            self._listener = _bound(self.port)
            self._listener.listen(256)
            self._accepting = self._loop.create_task(self._accept(self._listener))

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            link = _Link(self, client)
            self._links.add(link)
            link.task = self._loop.create_task(link.run())
            link.task.add_done_callback(partial(self._forget, link))

    def _forget(self, link: _Link, _: object) -> None:
        self._links.discard(link)

    async def _stop_listening(self) -> None:
        if self._accepting is not None and self._listener is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._listener.close()
        self._accepting = self._listener = None

    async def _sever(self) -> int:
        tasks = [link.task for link in self._links if link.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(tasks)

    async def _close(self) -> None:
        await self._stop_listening()
        await self._sever()

    def _cut_one(self, way: str) -> None:
        """A connection was cut: one less to cut."""
        fault: Fault = getattr(self, way)
        if fault.mode is Mode.CUT and fault.times is not None:
            left = fault.times - 1
            setattr(self, way, Fault(Mode.CUT, after_bytes=fault.after_bytes, times=left) if left else PASS)


class _Cut(Exception):
    """The connection is to be reset now."""


class _Link:
    """One client's connection and its other half."""

    def __init__(self, proxy: FaultProxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server: socket.socket | None = None
        self._loop = proxy._loop
        self.task: asyncio.Task[None] | None = None
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def run(self) -> None:
        try:
            await self._while_swallowed("_up")
            self._server = socket.socket()
            self._server.setblocking(False)
            self._server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.sock_connect(self._server, ("127.0.0.1", self._proxy.target_port))
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._pump("_up", self._client, self._server))
                ways.create_task(self._pump("_down", self._server, self._client))
        except* (OSError, _Cut):
            self._reset()
        except* asyncio.CancelledError:
            self._reset()
        finally:
            self._client.close()
            if self._server is not None:
                self._server.close()

    async def _pump(self, way: str, source: socket.socket, target: socket.socket) -> None:
        passed = generation = 0
        while True:
            data = await self._loop.sock_recv(source, _CHUNK_BYTES)
            await self._while_swallowed(way)
            if not data:
                with contextlib.suppress(OSError):
                    target.shutdown(socket.SHUT_WR)
                return
            while data:
                await self._while_swallowed(way)
                fault: Fault = getattr(self._proxy, way)
                if generation != self._proxy._generation:
                    generation, passed = self._proxy._generation, 0
                if fault.mode is Mode.CUT:
                    portion = data[: fault.after_bytes - passed]
                    await self._loop.sock_sendall(target, portion)
                    passed += len(portion)
                    data = data[len(portion) :]
                    if passed >= fault.after_bytes:
                        self._proxy._cut_one(way)
                        raise _Cut
                elif fault.mode is Mode.SLOW:
                    rate = fault.bytes_per_second
                    size = len(data) if rate == float("inf") else max(1, int(rate * _PORTION_SECONDS))
                    portion = data[:size]
                    await self._pause(fault.latency_seconds + len(portion) / rate)
                    await self._while_swallowed(way)
                    await self._loop.sock_sendall(target, portion)
                    data = data[len(portion) :]
                else:
                    await self._loop.sock_sendall(target, data)
                    data = b""

    async def _while_swallowed(self, way: str) -> None:
        while getattr(self._proxy, way).mode is Mode.BLACKHOLE:
            await self._proxy._changed.wait()

    async def _pause(self, seconds: float) -> None:
        """At most until the faults change."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._proxy._changed.wait(), seconds)

    def _reset(self) -> None:
        for sock in (self._client, self._server):
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.setblocking(False)
    return sock
