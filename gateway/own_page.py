"""What a process says of itself when it shares its ports with others: a status page on a port of its own, fresh gauges."""

from __future__ import annotations

import asyncio

from gateway.metrics import GatewayMetrics
from runtime.health import Readiness
from runtime.http import EmbeddedServer, embedded, listen, status_app

#: How old the gauges of this process may be on a page that another one shows, seconds.
_REFRESH_SECONDS = 1.0
#: For whoever reads the status page when the process stops.
_LAST_SECONDS = 0.5


class OwnPage:
    """``start()`` in the event loop, later ``await stop()``."""

    def __init__(self, metrics: GatewayMetrics, readiness: Readiness) -> None:
        self._metrics = metrics
        self._server: EmbeddedServer = embedded(status_app(metrics.page, readiness))
        self._serving: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None

    def start(self, host: str, port: int) -> None:
        """`port` 0: no page. Raises OSError when the port is taken."""
        if port:
            serve = self._server.serve(sockets=[listen(host, port)])
            self._serving = asyncio.create_task(serve, name="status-page")
        if self._metrics.shared:
            self._refreshing = asyncio.create_task(self._refresh(), name="gauges")

    async def stop(self) -> None:
        """Within a second."""
        self._server.should_exit = True
        if self._serving is not None:
            await asyncio.wait({self._serving}, timeout=_LAST_SECONDS)
        for task in (self._serving, self._refreshing):
            if task is not None:
                task.cancel()

    async def _refresh(self) -> None:
        while True:
            self._metrics.refresh()
            await asyncio.sleep(_REFRESH_SECONDS)
