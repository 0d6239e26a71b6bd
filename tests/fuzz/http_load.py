"""Sends :mod:`tests.fuzz.http_shapes` over real sockets: pipelined where the framing is sound, alone where it lies."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from tests.fuzz.http_shapes import HttpShapes, Request
from tests.fuzz.outcomes import Outcomes

#: Requests written ahead; a gateway takes 16.
_AHEAD = 8
#: Longest wait for an answer that is due, seconds; one that does not come is a defect.
_ANSWER_SECONDS = 60.0
#: How long an answer to a lie is waited for, seconds.
_LIE_SECONDS = 0.03
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class OutOfStep(Exception):
    """The bytes after an answer are no answer: what was sent is read differently than it was meant."""


class HttpLoad:
    """Some connections to one port."""

    def __init__(self, port: int, shapes: Callable[[int], HttpShapes], outcomes: Outcomes) -> None:
        """`shapes`: those of each connection, so that what one sends does not depend on how fast the others are answered."""
        self._port = port
        self._shapes = shapes
        self._outcomes = outcomes

    async def run(self, count: int, connections: int, asks_share: float, lies_share: float) -> None:
        """`count` requests; `asks_share` of them queries, `lies_share` of them lies."""
        share = max(1, count // connections)
        await asyncio.gather(*(self._worker(number, share, asks_share, lies_share) for number in range(connections)))

    async def _worker(self, number: int, count: int, asks_share: float, lies_share: float) -> None:
        shapes = self._shapes(number)
        lies = round(count * lies_share)
        asks = round(count * asks_share)
        done = 0
        while done < count - lies:
            size = min(_AHEAD, count - lies - done)
            await self._pipelined([shapes.sound(asks=done + at < asks) for at in range(size)])
            done += size
        for _ in range(lies):
            await self._lie(shapes.lying())

    async def _pipelined(self, requests: list[Request]) -> None:
        left = list(requests)
        while left:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                writer.writelines(request.data for request in left)
                while left:
                    request = left[0]
                    async with asyncio.timeout(_ANSWER_SECONDS):
                        status, closes = await _answer(reader, request.head)
                    left.pop(0)
                    self._outcomes.add(request.kind, status, request.data)
                    if closes:
                        break
            except OutOfStep as error:
                self._outcomes.defect(f"out of step: {error} after {left[0].data[:2000]!r}")
                return
            except TimeoutError:
                self._outcomes.defect(f"no answer in {_ANSWER_SECONDS:.0f} s to {left[0].data[:2000]!r}")
                return
            except (asyncio.IncompleteReadError, ConnectionError):
                # Refused by the parser without an answer, or closed after one: what was sent ahead goes again.
                request = left.pop(0)
                self._outcomes.add(request.kind, "closed", request.data)
            finally:
                writer.close()

    async def _lie(self, request: Request) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except ConnectionError as error:
            self._outcomes.defect(f"the door does not answer: {error}")
            return
        received = b""
        try:
            writer.write(request.data)
            async with asyncio.timeout(_LIE_SECONDS):
                while data := await reader.read(1 << 16):
                    received += data
        except (TimeoutError, ConnectionError):
            pass  # it waits for the rest, or has hung up
        finally:
            writer.close()
        found = _STATUS.findall(received)
        self._outcomes.add(request.kind, found[0].decode() if found else "no answer", request.data)
        for status in found[1:]:
            if status.startswith(b"50") and status != b"503":
                self._outcomes.defect(f"{status.decode()} behind a lie: {request.data[:2000]!r}")


async def _answer(reader: asyncio.StreamReader, head: bool) -> tuple[str, bool]:
    """The status of the next answer, and whether the connection ends with it."""
    try:
        start = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise OutOfStep("no head in 64 KiB") from None
    status = _STATUS.match(start)
    if status is None:
        raise OutOfStep(repr(start[:200]))
    length = _LENGTH.search(start)
    if length is not None and not head:
        await reader.readexactly(int(length[1]))
    elif length is None and not head:
        # uvicorn's own 400 has chunks and closes.
        await reader.read()
        return status[1].decode(), True
    return status[1].decode(), b"connection: close" in start.lower()
