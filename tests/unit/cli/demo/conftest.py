"""The demo session, sent once by the real SDK to an HTTP server that keeps it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from chaukas.spec.client.v1 import client_pb2

from cli.demo.session import SentSession, send_session
from cli.stack.endpoints import Endpoints


@dataclass
class HttpDoor:
    """The SDK's routes; the first `refusals` requests are answered 503."""

    refusals: int = 0
    events: list[Any] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    url: str = ""

    def endpoints(self) -> Endpoints:
        return Endpoints(self.url, "127.0.0.1:1", "ck_demo", "t", "p", "127.0.0.1:9092")


@pytest.fixture(scope="session")
def _doors() -> Iterator[Any]:
    servers = []

    def make(refusals: int = 0) -> HttpDoor:
        door = HttpDoor(refusals)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = 202
                if door.refusals > 0:
                    door.refusals, status = door.refusals - 1, 503
                elif self.path.endswith("/batch"):
                    door.events += client_pb2.IngestEventBatchRequest.FromString(body).event_batch.events
                else:
                    door.events.append(client_pb2.IngestEventRequest.FromString(body).event)
                door.keys.add(self.headers["Authorization"])
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Tests print nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        door.url = f"http://127.0.0.1:{server.server_port}"
        return door

    yield make
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def door(_doors: Any) -> HttpDoor:
    made: HttpDoor = _doors()
    return made


@dataclass(frozen=True)
class Told:
    sent: SentSession
    door: HttpDoor
    environment_before: dict[str, str]
    environment_after: dict[str, str]

    @property
    def events(self) -> list[Any]:
        return sorted(self.door.events, key=lambda event: event.timestamp.ToNanoseconds())


@pytest.fixture(scope="session")
def told(_doors: Any) -> Told:
    """The session, told once for all tests: it takes most of a second."""
    door = _doors()
    before = dict(os.environ)
    sent = asyncio.run(send_session(door.endpoints()))
    return Told(sent, door, before, dict(os.environ))
