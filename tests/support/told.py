"""Clients that behave as the documentation tells them to (docs/front_door.md, docs/delivery.md), and call anything else an error.

Told: UNAVAILABLE or RESOURCE_EXHAUSTED, 503 or 429, with the time after which to send the same again; or a connection that
ended without an answer, where the client waits as long as the gateway would have told it. Everything else, and a call that is not
OK within its patience, is an error that the client sees.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import httpx
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2

from cli.client import errors
from tests.support.stack import Client, Stack

T = TypeVar("T")

#: What a gateway tells when nothing better is known (contracts.errors.TransientError), seconds.
UNTOLD_SECONDS = 1.0
_CALL_SECONDS = 15.0
_TOLD_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


@dataclass
class Seen:
    """What one client met; "OK" included."""

    answers: Counter[str] = field(default_factory=Counter)
    longest_seconds: float = 0.0


class Told:
    """One client; `patience_seconds` is how long a single call may take with all its repeats."""

    def __init__(self, patience_seconds: float = 60.0) -> None:
        self.seen = Seen()
        self._patience_seconds = patience_seconds

    def until_ok(self, attempt: Callable[[], T]) -> T:
        """The answer of `attempt`, repeated as its failures tell. Raises what is not to be repeated, or not for longer."""
        started = time.monotonic()
        while True:
            try:
                answer = attempt()
            except grpc.RpcError as error:
                parsed = errors.parse(error)
                if parsed.code not in _TOLD_CODES:
                    raise
                name, after = parsed.code.name, parsed.retry_after_seconds
            except httpx.HTTPStatusError as error:
                if error.response.status_code not in (429, 503):
                    raise AssertionError(f"{error}: {error.response.text}") from error
                name, text = str(error.response.status_code), error.response.headers.get("retry-after")
                after = float(text) if text else None
                assert after is not None, f"{name} without Retry-After: {error.response.text}"
            except httpx.TransportError as error:
                name, after = type(error).__name__, None
            else:
                self.seen.answers["OK"] += 1
                self.seen.longest_seconds = max(self.seen.longest_seconds, time.monotonic() - started)
                return answer
            self.seen.answers[name if after is not None else f"{name} untold"] += 1
            waited = time.monotonic() - started
            assert waited < self._patience_seconds, f"not OK after {waited:.0f} s: {dict(self.seen.answers)}"
            time.sleep(UNTOLD_SECONDS if after is None else after)


class GrpcSender(Told):
    """Batches over the spec's server service, on one connection."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self._client = Client(stack)

    def send(self, events: Sequence[pb.Event]) -> None:
        answer = self.until_ok(lambda: self._client.send_batch(list(events)))
        assert (answer.accepted_count, answer.rejected_count) == (len(events), 0), answer

    def close(self) -> None:
        self._client.close()


class HttpSender(Told):
    """The SDK's route, on connections that are kept alive."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self._stack = stack
        self._client = httpx.Client(timeout=_CALL_SECONDS)

    def send(self, events: Sequence[pb.Event]) -> None:
        request = server_pb2.IngestEventBatchRequest()
        request.event_batch.events.extend(events)
        endpoints = self._stack.endpoints
        headers = {"authorization": f"Bearer {endpoints.api_key}", "content-type": "application/x-protobuf"}

        def attempt() -> Any:
            url = f"{endpoints.http_url}/events/batch"
            answer = self._client.post(url, content=request.SerializeToString(), headers=headers)
            answer.raise_for_status()
            return answer.json()

        found = self.until_ok(attempt)
        assert (found["accepted_count"], found["rejected_count"]) == (len(events), 0), found

    def close(self) -> None:
        self._client.close()


class Reader(Told):
    """Asks for every page of a project's events."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self._client = Client(stack)

    def pages(self, project: str) -> list[pb.Event]:
        """Every event of `project`; each page is asked for until it comes."""
        request = server_pb2.QueryEventsRequest()
        request.query.filter.project_id = project
        request.query.page_size = 1000
        found: list[pb.Event] = []
        stub, metadata = self._client.stub, self._client.metadata
        while True:
            answer = self.until_ok(lambda: stub.QueryEvents(request, metadata=metadata, timeout=_CALL_SECONDS))
            found.extend(answer.response.events)
            if not answer.response.next_page_token:
                return found
            request.query.page_token = answer.response.next_page_token

    def close(self) -> None:
        self._client.close()


class Loop(threading.Thread):
    """Calls `step` again and again until :meth:`stop`, which raises what it raised."""

    def __init__(self, name: str, step: Callable[[], object], pause_seconds: float) -> None:
        super().__init__(name=name, daemon=True)
        self.turns = 0
        self._step = step
        self._pause_seconds = pause_seconds
        self._failure: BaseException | None = None
        self._stopping = threading.Event()
        self.start()

    def run(self) -> None:
        try:
            while not self._stopping.wait(self._pause_seconds):
                self._step()
                self.turns += 1
        except BaseException as error:
            self._failure = error

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        self._stopping.set()
        self.join(120)
        assert not self.is_alive(), f"{self.name} did not end"
        self.check()
