"""uvicorn embedded in a process that owns its own loop and signals, and the status page of processes without a front door."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from runtime.health import Readiness
from runtime.http_protocol import CROWDED, BoundedHttpProtocol, Bounds

if TYPE_CHECKING:  # it brings gRPC, which not every process with a status page needs
    from runtime.tls import ServerCertificates

__all__ = [
    "CROWDED",
    "PROBES",
    "AsgiApp",
    "Bounds",
    "EmbeddedServer",
    "Receive",
    "Scope",
    "Send",
    "embedded",
    "listen",
    "probe_answer",
    "respond",
    "status_app",
]

#: Answers above this may fill a connection's buffers, bytes.
_LARGE_BYTES = 64 * 1024

#: Paths of :func:`probe_answer`.
PROBES = ("/healthz", "/readyz", "/metrics")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class EmbeddedServer(uvicorn.Server):
    """``await serve(sockets=[…])`` inside somebody else's event loop: leaves signal handling to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int, *, share: bool = False) -> socket.socket:
    """A listening TCP socket. `share` lets several processes listen on one port (SO_REUSEPORT). Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen(2048)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def embedded(
    app: AsgiApp, bounds: Bounds | None = None, certificates: ServerCertificates | None = None, **options: Any
) -> EmbeddedServer:
    """uvicorn with httptools and `bounds`, without access log, server header and lifespan; TLS with `certificates`."""
    if certificates is not None:
        options["ssl_context_factory"] = lambda config, default: certificates.ssl_context()
    # Longer than clients keep an idle connection (httpx: 5 s), so that it is they who close it, never we under a request.
    options.setdefault("timeout_keep_alive", 75)
    config = uvicorn.Config(
        app,
        http=partial(BoundedHttpProtocol, bounds or Bounds()),  # type: ignore[arg-type]  # makes one, as the class does
        interface="asgi3",
        proxy_headers=False,  # nobody asks for the client's address
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        **options,
    )
    return EmbeddedServer(config)


async def respond(
    send: Send, status: int, body: bytes, content_type: str = "application/json", headers: Any = ()
) -> None:
    """One complete answer. Returns when the client took all but the last of a large one, or is gone."""
    start = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    if len(body) > _LARGE_BYTES:
        # The next send waits for room in the transport.
        await send({"type": "http.response.body", "body": body, "more_body": True})
        body = b""
    await send({"type": "http.response.body", "body": body})


def probe_answer(path: str, registry: CollectorRegistry, readiness: Readiness) -> tuple[int, bytes, str] | None:
    """Status, body and content type for ``/healthz``, ``/readyz`` and ``/metrics``; None for any other path."""
    if path == "/metrics":
        return 200, generate_latest(registry), CONTENT_TYPE_LATEST
    if path == "/healthz":
        # The time is for `chaukas-gateway doctor`: how far this machine's clock is from another's.
        return 200, b'{"status":"ok","unix_ms":%d}' % (time.time_ns() // 1_000_000), "application/json"
    if path == "/readyz":
        body = {"status": "ready" if readiness.ready else "not ready", "conditions": readiness.describe()}
        return (200 if readiness.ready else 503), json.dumps(body).encode(), "application/json"
    return None


def status_app(registry: CollectorRegistry, readiness: Readiness) -> AsgiApp:
    """The probes alone: for processes without an HTTP door."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = probe_answer(scope["path"], registry, readiness) or (404, b'{"error":"not found"}', "application/json")
        await respond(send, *answer)

    return app
