"""A well-behaved client that goes on while others are hostile: each of its calls must succeed."""

from __future__ import annotations

import threading
import time

import grpc
import httpx
from chaukas.spec.server.v1 import server_pb2
from chaukas.spec.server.v1.server_pb2_grpc import ChaukasServerServiceStub

from tests.fuzz.json_shapes import plain_event
from tests.integration.gateway.harness import Key, batch_request

#: Between two rounds, seconds.
_PAUSE_SECONDS = 0.1


class Witness:
    """Sends events through both doors and asks for some, in a thread, with a key of its own."""

    def __init__(self, grpc_port: int, http_port: int, key: Key) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{grpc_port}")
        self._stub = ChaukasServerServiceStub(self._channel)
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{http_port}", headers=key.headers, timeout=30)
        self._metadata = key.metadata
        self._stop = threading.Event()
        self.calls = 0
        self.failures: list[str] = []
        self.slowest_seconds = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when its last call is answered."""
        self._stop.set()
        self._thread.join(60)
        self._channel.close()
        self._http.close()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(_PAUSE_SECONDS):
            number += 1
            for call in (self._batch, self._post, self._query):
                started = time.monotonic()
                try:
                    call(number)
                except (grpc.RpcError, httpx.HTTPError, AssertionError) as error:
                    self.failures.append(f"{call.__name__}: {str(error)[:500]}")
                self.calls += 1
                self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - started)

    def _batch(self, number: int) -> None:
        request = batch_request([plain_event(number * 10 + n) for n in range(5)])
        answer = self._stub.IngestEventBatch(request, metadata=self._metadata, timeout=30)
        assert answer.accepted_count == 5, answer

    def _post(self, number: int) -> None:
        request = server_pb2.IngestEventRequest(event=plain_event(number * 10 + 9))
        headers = {"content-type": "application/x-protobuf"}
        answer = self._http.post("/v1/events", content=request.SerializeToString(), headers=headers)
        assert answer.status_code == 202, answer.text

    def _query(self, number: int) -> None:
        request = server_pb2.QueryEventsRequest()
        request.query.page_size = 5
        request.query.filter.session_id = f"good-{number % 50}"
        self._stub.QueryEvents(request, metadata=self._metadata, timeout=30)
