"""A client that asks all the time: what readers see while things break, and that no answer holds an event twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import grpc
from chaukas.spec.server.v1 import server_pb2

from tests.conservation.system import System
from tests.support.stack import Client

_CALL_SECONDS = 5.0
_EVERY_SECONDS = 0.25
#: What a query may be answered while something is down; everything else is a failure of the trial.
_EXPECTED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)


class Reader(threading.Thread):
    """Asks for the newest page and for statistics in turn until :meth:`stop`."""

    def __init__(self, system: System, project: str) -> None:
        super().__init__(name="reader", daemon=True)
        self.answers: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self._client = Client(system)
        self._project = project
        self._stopping = threading.Event()

    def run(self) -> None:
        try:
            while not self._stopping.wait(_EVERY_SECONDS):
                self._count(self._newest_page)
                self._count(self._statistics)
        except BaseException as error:
            self.failure = error
        finally:
            self._client.close()

    def stop(self) -> None:
        """Wait for the running call. Raises what was wrong with an answer."""
        self._stopping.set()
        self.join(60)
        if self.failure is not None:
            raise self.failure

    def _count(self, ask: Callable[[], None]) -> None:
        try:
            ask()
        except grpc.RpcError as error:
            code = error.code()
            if code not in _EXPECTED:
                raise
            self.answers[code.name] += 1
        else:
            self.answers["OK"] += 1

    def _newest_page(self) -> None:
        request = server_pb2.QueryEventsRequest()
        request.query.filter.project_id = self._project
        request.query.page_size = 200
        answer = self._client.stub.QueryEvents(request, metadata=self._client.metadata, timeout=_CALL_SECONDS)
        counts = Counter(event.event_id for event in answer.response.events)
        twice = [name for name, n in counts.items() if n > 1]
        assert not twice, f"one page holds events twice: {twice[:3]}"

    def _statistics(self) -> None:
        request = server_pb2.GetEventStatsRequest(project_id=self._project)
        answer = self._client.stub.GetEventStats(request, metadata=self._client.metadata, timeout=_CALL_SECONDS)
        assert sum(answer.events_by_type.values()) == answer.total_events, answer
