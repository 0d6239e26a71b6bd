"""Leaving in order: what both doors do with calls once the process was told to stop.

New calls over gRPC are refused with a hint, at first with the doors still open: a client that is answered goes elsewhere, one that
is cut off may not. Those over HTTP are served, because their answer can say that the connection ends. Calls under way finish; those still waiting when the time is up are answered that they did not, with the word
that sending again is safe, and are never left to a server that cancels them.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable

from contracts.errors import Unavailable

#: New calls are refused until none has come for this long; what a refused caller shall wait, seconds.
QUIET_SECONDS, RETRY_SECONDS = 0.25, 1.0
STOPPING = "this gateway is stopping; nothing of this call was accepted, sending it again is safe"


class Draining:
    """The state of one process. Used from the event loop's thread only."""

    def __init__(self) -> None:
        self.leaving = False
        self.gave_up = False
        self._last_call = 0.0
        self._waits: weakref.WeakSet[asyncio.Timeout] = weakref.WeakSet()
        self._callbacks: list[Callable[[], None]] = []

    def check(self) -> None:
        """A call came. Raises :class:`Unavailable` when the process takes no more."""
        if self.leaving:
            self._last_call = asyncio.get_running_loop().time()
            raise Unavailable(STOPPING, RETRY_SECONDS)

    def check_last(self) -> None:
        """A call came on a connection that ends with its answer. Raises :class:`Unavailable` when no time is left for it."""
        if self.gave_up:
            raise Unavailable(STOPPING, RETRY_SECONDS)
        if self.leaving:
            self._last_call = asyncio.get_running_loop().time()

    def timeout(self, seconds: float) -> asyncio.Timeout:
        """``async with`` for a wait of a call: TimeoutError after `seconds`, or when :meth:`give_up` comes first."""
        timeout = asyncio.timeout(0 if self.gave_up else seconds)
        self._waits.add(timeout)
        return timeout

    def on_give_up(self, callback: Callable[[], None]) -> None:
        """`callback` is called by :meth:`give_up`: for waits that a timeout must not cancel."""
        self._callbacks.append(callback)

    async def refuse_until_quiet(self, seconds: float) -> None:
        """Refuse new calls from now on; returns when none has come for a moment, or after `seconds`."""
        loop = asyncio.get_running_loop()
        self.leaving = True
        self._last_call = loop.time()
        end = self._last_call + seconds
        while (now := loop.time()) < min(end, self._last_call + QUIET_SECONDS):  # noqa: ASYNC110 - waits for nothing to happen
            await asyncio.sleep(min(end, self._last_call + QUIET_SECONDS) - now)

    def give_up(self) -> None:
        """End the waits of calls under way: each is answered as not confirmed."""
        self.gave_up = True
        loop = asyncio.get_running_loop()
        for timeout in list(self._waits):
            with contextlib.suppress(RuntimeError):  # over already
                timeout.reschedule(loop.time())
        for callback in self._callbacks:
            callback()
