"""What a process says of itself when it shares its ports with others: a status page on a port of its own, fresh gauges."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from gateway.metrics import GatewayMetrics
from runtime.health import Readiness
from runtime.http import EmbeddedServer, embedded, listen, status_app

#: How old the gauges of this process may be on a page that another one shows, seconds.
_REFRESH_SECONDS = 1.0


class OwnPage:
    """``start()`` in the event loop, later ``await stop()``."""

    def __init__(self, metrics: GatewayMetrics, readiness: Readiness) -> None:
        self._metrics = metrics
        self._server: EmbeddedServer = embedded(status_app(metrics.page, readiness))
        self._socket: socket.socket | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, host: str, port: int) -> None:
        """`port` 0: no page. Raises OSError when the port is taken."""
        if port:
            self._socket = listen(host, port)
            self._tasks.append(asyncio.create_task(self._server.serve(sockets=[self._socket]), name="status-page"))
        if self._metrics.shared:
            self._tasks.append(asyncio.create_task(self._refresh(), name="gauges"))

    async def stop(self) -> None:
        """Cut off whoever reads."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._socket is not None:
            self._socket.close()

    async def _refresh(self) -> None:
        while True:
            self._metrics.refresh()
            await asyncio.sleep(_REFRESH_SECONDS)
