"""The demo session in a store: what the real SDK sent, through the processors' own steps and the sink's own mapping."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from chaukas.spec.client.v1 import client_pb2

from cli.demo.session import send_session
from cli.stack.endpoints import Endpoints
from contracts.dead_letters import SourceRecord
from contracts.topics import Topics
from processors import emit
from processors.intake import BadRecord
from processors.pipeline import PartitionState, process_all
from processors.window import Window
from sink.batch import Batch
from sink.prepare import prepare
from sink.store import Store
from tests.support.raw_records import raw_record
from tests.support.stored import insert


@contextmanager
def _door() -> Iterator[tuple[str, list[Any]]]:
    events: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/batch"):
                events.extend(client_pb2.IngestEventBatchRequest.FromString(body).event_batch.events)
            else:
                events.append(client_pb2.IngestEventRequest.FromString(body).event)
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Tests print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", events
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def demo_events(tenant: str = "t", project: str = "p") -> list[Any]:
    """One session as the SDK sends it; takes about a second."""
    with _door() as (url, events):
        asyncio.run(send_session(Endpoints(url, "127.0.0.1:1", "ck_demo", tenant, project, "127.0.0.1:9092")))
    return sorted(events, key=lambda event: event.timestamp.ToNanoseconds())


class _Sent:
    def __init__(self) -> None:
        self.records: list[SourceRecord] = []

    def send(self, topic: str, value: Any, key: Any = None, *, timestamp_ms: int = 0, headers: Any = None) -> None:
        self.records.append(SourceRecord(topic, 0, len(self.records), key, value, tuple(headers or ()), timestamp_ms))


def store_events(store: Store, events: list[Any]) -> None:
    """As if `events` had come one after the other, each received when it says it happened."""
    topics, sent, state = Topics(), _Sent(), PartitionState(Window(10_000))
    raw = [
        raw_record(event, offset, received_at_ns=event.timestamp.ToNanoseconds() + 1_000_000)
        for offset, event in enumerate(events)
    ]
    for record, output in process_all(state, raw):
        assert not isinstance(output, BadRecord)
        emit.emit(sent, topics, record, output)
    batch = Batch()
    batch.extend(sent.records, 0.0)
    prepared = prepare(batch, topics)
    assert not prepared.letters
    for table in prepared.tables:
        insert(store, table.name, table.rows)
