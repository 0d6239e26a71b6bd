"""Reading a gRPC request: only once its caller is known and there is room, bounded in time, its bytes counted.

A unary handler of grpc.aio is called when the message is in memory, as late as that may be. So ours are registered as taking a
stream (the same on the wire) and read the one message themselves. Its length is not announced: a message that is not there
within a moment counts as the largest one allowed until it is.
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

#: A message that takes longer than this to arrive is billed as the largest, seconds.
LATE_SECONDS = 0.1
#: How soon after the end of its stream grpc tells of a call that it was cancelled, seconds.
_CANCELLED_SECONDS = 0.05

Context = Any
_EOF = cast(Any, grpc.aio).EOF


async def read_message(context: Context, lease: Lease, *, largest: int, seconds: float, draining: Draining) -> bytes:
    """The request's bytes, counted in `lease`.

    Raises Overloaded or InvalidInput. A message that is too late is answered from here: then grpc.aio.AbortError is raised, to
    be passed on.
    """
    reading = _Reading(context, lease, largest, seconds, draining)
    try:
        message = await context.read()
    finally:
        reading.end()
    if message is _EOF:
        await asyncio.sleep(_CANCELLED_SECONDS)  # a caller that went away: this task is cancelled meanwhile
        raise InvalidInput.of("", "the call holds no message")
    lease.grow(len(message))
    return bytes(message)


class _Reading:
    """One read under way. It is ended by answering the call: cancelling it would leave grpc's operation behind."""

    __slots__ = ("_charged", "_context", "_draining", "_largest", "_lease", "_over", "_seconds", "_task", "_timer")

    def __init__(
        self,
        context: Context,
        lease: Lease,
        largest: int,
        seconds: float,
        draining: Draining,
    ) -> None:
        self._context = context
        self._lease = lease
        self._largest = largest
        self._seconds = seconds
        self._draining = draining
        self._charged = 0
        self._over = False
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(LATE_SECONDS, self._late)

    def end(self) -> None:
        self._over = True
        self._timer.cancel()
        if self._charged:
            self._draining.remove_reader(self._leave)
            self._lease.shrink(self._charged)

    def _late(self) -> None:
        try:
            self._lease.grow(self._largest)
        except Overloaded as error:
            self._answer(error)
            return
        self._charged = self._largest
        self._timer = asyncio.get_running_loop().call_later(max(0.0, self._seconds - LATE_SECONDS), self._too_slow)
        self._draining.add_reader(self._leave)

    def _too_slow(self) -> None:
        self._answer(
            TooSlow(
                f"the message did not arrive within {self._seconds:g} seconds; {NOTHING_ACCEPTED}", RETRY_AFTER_SECONDS
            )
        )

    def _leave(self) -> None:
        self._answer(Unavailable(STOPPING, RETRY_SECONDS))

    def _answer(self, error: GatewayError) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._abort(error))

    async def _abort(self, error: GatewayError) -> None:
        if self._over:
            return  # it came after all
        status = rpc_status.to_status(status_of(error))
        with contextlib.suppress(grpc.aio.AbortError, grpc.aio.InternalError, grpc.aio.UsageError):
            await self._context.abort_with_status(status)
