"""Reading a gRPC request: only once its caller is known and there is room, bounded in time and in number.

A unary handler of grpc.aio is called when the message is in memory, as late as that may be. So ours are registered as taking a
stream (the same on the wire) and read the one message themselves. grpc announces no length and does not say how much of a
message has arrived: until it is complete it may be as large as the largest allowed. Most are there with their call; those that
are not are slow messages, and only so many are waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
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
#: How soon after the end of its stream grpc tells of a call that it was cancelled, seconds.
_CANCELLED_SECONDS = 0.05

Context = Any
_EOF = cast(Any, grpc.aio).EOF


class MessageReader:
    """Reads the messages of one process's calls."""

    def __init__(self, slow_limit: int, seconds: float, draining: Draining, metrics: GatewayMetrics) -> None:
        self.slow_limit = slow_limit
        self.seconds = seconds
        self.draining = draining
        self.metrics = metrics
        #: Slow messages that are waited for.
        self.slow = 0
        metrics.slow_messages.set_function(lambda: self.slow)

    async def read(self, context: Context, lease: Lease) -> bytes:
        """The call's message, counted in `lease`.

        Raises Overloaded (its bytes have no room) or InvalidInput (there is none). A message that does not come, or may not be
        waited for, is answered from here; grpc.aio.AbortError is raised then, to be passed on.
        """
        reading = _Reading(self, context)
        try:
            message = await context.read()
        finally:
            reading.end()
        if message is _EOF:
            await asyncio.sleep(_CANCELLED_SECONDS)  # a caller that went away: this task is cancelled meanwhile
            raise InvalidInput.of("", "the call holds no message")
        lease.grow(len(message))
        return cast(bytes, message)


class _Reading:
    """One read under way. Answering the call is what ends it: cancelling it would leave grpc's operation behind."""

    __slots__ = ("_context", "_over", "_reader", "_slow", "_task", "_timer")

    def __init__(self, reader: MessageReader, context: Context) -> None:
        self._reader = reader
        self._context = context
        self._slow = self._over = False
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(SLOW_SECONDS, self._is_slow)

    def end(self) -> None:
        self._over = True
        self._timer.cancel()
        if self._slow:
            self._reader.slow -= 1
            self._reader.draining.remove_reader(self._leave)

    def _is_slow(self) -> None:
        reader = self._reader
        if reader.slow >= reader.slow_limit:
            reader.metrics.overloaded.inc()
            self._answer(
                Overloaded(f"{reader.slow} messages arrive slowly; {NOTHING_ACCEPTED}", RETRY_AFTER_SECONDS),
            )
            return
        self._slow = True
        reader.slow += 1
        reader.draining.add_reader(self._leave)
        left = max(0.0, reader.seconds - SLOW_SECONDS)
        self._timer = asyncio.get_running_loop().call_later(left, self._too_slow)

    def _too_slow(self) -> None:
        message = f"the message did not arrive within {self._reader.seconds:g} seconds; {NOTHING_ACCEPTED}"
        self._answer(TooSlow(message, RETRY_AFTER_SECONDS))

    def _leave(self) -> None:
        self._answer(Unavailable(STOPPING, RETRY_SECONDS))

    def _answer(self, error: GatewayError) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._abort(error))

    async def _abort(self, error: GatewayError) -> None:
        if self._over:
            return  # it came after all
        with contextlib.suppress(grpc.aio.AbortError, grpc.aio.InternalError, grpc.aio.UsageError):
            await self._context.abort_with_status(rpc_status.to_status(status_of(error)))
