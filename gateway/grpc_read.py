"""Reading a gRPC request: only once its caller is known and there is room, bounded in time and in number.

A unary handler of grpc.aio is called when the message is in memory, as late as that may be. So ours are registered as taking a
stream (the same on the wire) and read the one message themselves. grpc announces no length and does not say how much of a
message has arrived: until it is complete it may be as large as the largest allowed. Most are there with their call; those that
are not are slow messages, and only so many are waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any, cast

import grpc.aio
from grpc_status import rpc_status

from contracts.errors import GatewayError, InvalidInput, Overloaded, TooSlow, Unavailable
from gateway.admission import NOTHING_ACCEPTED, RETRY_AFTER_SECONDS, Lease
from gateway.draining import RETRY_SECONDS, STOPPING, Draining
from gateway.grpc_errors import status_of
from gateway.metrics import GatewayMetrics

#: A message that takes longer than this to arrive is a slow one, seconds.
SLOW_SECONDS = 0.25
#: How often slow messages are looked for, seconds.
_LOOK_SECONDS = 0.05
#: How soon after the end of its stream grpc tells of a call that it was cancelled, seconds.
_CANCELLED_SECONDS = 0.05

Context = Any
_EOF = cast(Any, grpc.aio).EOF


def metadata_of(context: Context) -> dict[str, str]:
    """The call's metadata by name; the first counts when a name repeats."""
    found: dict[str, str] = {}
    for key, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            found.setdefault(key, value)
    return found


class MessageReader:
    """Reads the messages of one process's calls."""

    def __init__(self, slow_limit: int, seconds: float, draining: Draining, metrics: GatewayMetrics) -> None:
        self._slow_limit = slow_limit
        self._seconds = seconds
        self._metrics = metrics
        # Both in the order they began. One timer looks after all of them: a timer each costs a call a fifth more.
        self._fresh: dict[_Reading, None] = {}
        self._slow: dict[_Reading, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        draining.on_give_up(self._leave)
        metrics.follow(metrics.slow_messages, lambda: len(self._slow))

    async def read(self, context: Context, lease: Lease) -> bytes:
        """The call's message, counted in `lease`.

        Raises Overloaded (its bytes have no room) or InvalidInput (there is none). A message that does not come, or may not be
        waited for, is answered from here; grpc.aio.AbortError is raised then, to be passed on.
        """
        loop = asyncio.get_running_loop()
        reading = _Reading(context, loop.time())
        self._fresh[reading] = None
        if self._timer is None:
            self._timer = loop.call_later(_LOOK_SECONDS, self._look)
        try:
            message = await context.read()
        finally:
            reading.over = True
            if self._fresh.pop(reading, reading) is reading:
                self._slow.pop(reading, None)
        if message is _EOF:
            await asyncio.sleep(_CANCELLED_SECONDS)  # a caller that went away: this task is cancelled meanwhile
            raise InvalidInput.of("", "the call holds no message")
        lease.grow(len(message))
        return cast(bytes, message)

    def _look(self) -> None:
        """Which messages have become slow, which too slow."""
        loop = asyncio.get_running_loop()
        for reading in _older(self._fresh, loop.time() - SLOW_SECONDS):
            del self._fresh[reading]
            if len(self._slow) < self._slow_limit:
                self._slow[reading] = None
                continue
            self._metrics.overloaded.inc()
            reading.answer(
                Overloaded(f"{len(self._slow)} messages arrive slowly; {NOTHING_ACCEPTED}", RETRY_AFTER_SECONDS)
            )
        for reading in _older(self._slow, loop.time() - self._seconds):
            message = f"the message did not arrive within {self._seconds:g} seconds; {NOTHING_ACCEPTED}"
            reading.answer(TooSlow(message, RETRY_AFTER_SECONDS))
        busy = self._fresh or self._slow
        self._timer = loop.call_later(_LOOK_SECONDS, self._look) if busy else None

    def _leave(self) -> None:
        for reading in (*self._fresh, *self._slow):
            reading.answer(Unavailable(STOPPING, RETRY_SECONDS))


class _Reading:
    """One read under way. Answering the call is what ends it: cancelling it would leave grpc's operation behind."""

    __slots__ = ("_context", "_task", "began", "over")

    def __init__(self, context: Context, began: float) -> None:
        self._context = context
        self.began = began
        self.over = False
        self._task: asyncio.Task[None] | None = None

    def answer(self, error: GatewayError) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._abort(error))

    async def _abort(self, error: GatewayError) -> None:
        if self.over:
            return  # it came after all
        with contextlib.suppress(grpc.aio.AbortError, grpc.aio.InternalError, grpc.aio.UsageError):
            await self._context.abort_with_status(rpc_status.to_status(status_of(error)))


def _older(readings: dict[_Reading, None], began: float) -> list[_Reading]:
    """Those that began before; they are the first ones."""
    return list(itertools.takewhile(lambda reading: reading.began <= began, readings))
