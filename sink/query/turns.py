"""Who asks next: queries of many tenants on a few reading clients, so that one tenant's do not hold up another's.

Here rather than in the gateways: all of them meet here. Tenants take turns; one of them has at most all clients but one, so that a
query of another does not wait for a long one to end. A tenant's own queries run in order. Beyond what may wait, and beyond a
tenant's budget of time, a query is refused with a hint.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from contracts.errors import Overloaded
from runtime.rate_limit import RateLimit, RateTable
from sink.query.engine import Deadline
from sink.query.errors import QueryTimedOut

#: What a refused caller shall wait when its own queries wait already, seconds.
_RETRY_SECONDS = 1.0
#: Most tenants whose budget is remembered; those that owe nothing are forgotten first.
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class TurnRules:
    """How many at once."""

    #: Of all tenants.
    clients: int
    #: Of one.
    tenant_clients: int
    #: Of one, waiting.
    tenant_waiting: int
    #: Seconds a minute that the queries of one may take together; 0: any.
    tenant_seconds: float = 0.0


class Turns:
    """Used from the event loop's thread only."""

    def __init__(self, rules: TurnRules, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._rules = rules
        self._monotonic = monotonic
        self._free = rules.clients
        self._running: dict[str, int] = {}
        #: By tenant, the next in turn first.
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._budgets = RateTable(_REMEMBERED)

    @contextlib.asynccontextmanager
    async def turn(self, tenant: str, deadline: Deadline) -> AsyncIterator[None]:
        """Waits for the tenant's turn. Raises :class:`Overloaded` or, when the deadline passes first, :class:`QueryTimedOut`."""
        budget = self._budget(tenant)
        await self._begin(tenant, deadline)
        started = self._monotonic()
        try:
            yield
        finally:
            now = self._monotonic()
            if budget is not None:
                budget.take(now - started, started)
            self._end(tenant)

    def _budget(self, tenant: str) -> RateLimit | None:
        seconds = self._rules.tenant_seconds
        if not seconds:
            return None
        now = self._monotonic()
        self._budgets.make_room((tenant,), now)
        budget = self._budgets.limit(tenant, seconds / 60, seconds)
        # What a query takes is known when it ends; until then it may begin when nothing is owed.
        wait = budget.wait(0, now)
        if wait:
            raise Overloaded(f"the tenant's queries may take {seconds:g} seconds a minute, and took more", wait)
        return budget

    async def _begin(self, tenant: str, deadline: Deadline) -> None:
        if self._may_run(tenant):
            self._start(tenant)
            return
        mine = self._waiting.setdefault(tenant, deque())
        if len(mine) >= self._rules.tenant_waiting:
            raise Overloaded(f"{len(mine)} queries of the tenant wait already", _RETRY_SECONDS)
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        mine.append(ready)
        try:
            async with asyncio.timeout(deadline.remaining()):
                await ready
        except BaseException as error:
            if ready.done() and not ready.cancelled():
                self._end(tenant)  # its turn came in the same moment
            else:
                self._leave(tenant, ready)
            if isinstance(error, TimeoutError):
                raise QueryTimedOut("other queries were before it until its time was up") from None
            raise

    def _may_run(self, tenant: str) -> bool:
        # Who waits is before who comes, but for those that wait for the end of their own tenant's.
        others = any(self._has_room(waiting) for waiting in self._waiting)
        return self._free > 0 and self._has_room(tenant) and not others

    def _has_room(self, tenant: str) -> bool:
        return self._running.get(tenant, 0) < self._rules.tenant_clients

    def _start(self, tenant: str) -> None:
        self._free -= 1
        self._running[tenant] = self._running.get(tenant, 0) + 1

    def _end(self, tenant: str) -> None:
        self._free += 1
        self._running[tenant] -= 1
        if not self._running[tenant]:
            del self._running[tenant]
        while self._free and (following := self._next()) is not None:
            name, ready = following
            if not ready.done():  # else it was cancelled, and is about to leave
                self._start(name)
                ready.set_result(None)

    def _next(self) -> tuple[str, asyncio.Future[None]] | None:
        for tenant in self._waiting:
            if self._has_room(tenant):
                mine = self._waiting[tenant]
                ready = mine.popleft()
                if mine:
                    self._waiting.move_to_end(tenant)
                else:
                    del self._waiting[tenant]
                return tenant, ready
        return None

    def _leave(self, tenant: str, ready: asyncio.Future[None]) -> None:
        mine = self._waiting.get(tenant)
        if mine is not None and ready in mine:
            mine.remove(ready)
            if not mine:
                del self._waiting[tenant]
