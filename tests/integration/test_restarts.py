"""Every process is killed in the middle of traffic and comes back, and every accepted event is found exactly once.

Orderly restarts: ``test_rolling_restart.py``.
"""

from __future__ import annotations

import signal
import threading
import uuid
from collections import Counter
from collections.abc import Iterator

from chaukas.spec.common.v1 import events_pb2 as pb

from tests.support.events import seeded_sessions
from tests.support.stack import PROCESSES, Client, Stack
from tests.support.waiting import wait_for


class Traffic(threading.Thread):
    """Sends whole sessions until told to stop; re-sends what was not acknowledged, as clients do."""

    def __init__(self, stack: Stack, project: str, seed: int) -> None:
        super().__init__(name="traffic", daemon=True)
        self.accepted: list[pb.Event] = []
        self.failure: BaseException | None = None
        self._client = Client(stack)
        self._sessions: Iterator[list[pb.Event]] = seeded_sessions(
            seed, 100_000, tenant=stack.endpoints.tenant_id, project=project
        )
        self._stop_asked = threading.Event()

    def run(self) -> None:
        try:
            while not self._stop_asked.wait(0.002):
                session = next(self._sessions)
                half = len(session) // 2
                for events in (session[:half], session[half:]):
                    self._client.send_until_accepted(events)
                    self.accepted.extend(events)
        except BaseException as error:
            self.failure = error

    def wait_for_more(self, count: int) -> None:
        target = len(self.accepted) + count
        wait_for(f"{count} more accepted events", lambda: len(self.accepted) >= target or self.failure, seconds=120)

    def stop(self) -> list[pb.Event]:
        self._stop_asked.set()
        self.join(120)
        self._client.close()
        if self.failure is not None:
            raise self.failure
        return self.accepted


def test_every_process_killed_under_traffic_loses_nothing(stack: Stack, client: Client) -> None:
    project = f"restart-{uuid.uuid4().hex[:8]}"
    traffic = Traffic(stack, project, seed=29)
    traffic.start()
    try:
        for process in PROCESSES:
            traffic.wait_for_more(100)
            before = stack.pids(process)
            stack.signal(process, signal.SIGKILL)
            stack.wait_restarted(process, before)
            stack.wait_ready()
            traffic.wait_for_more(100)
    finally:
        accepted = traffic.stop()
    ids = Counter(event.event_id for event in accepted)
    assert max(ids.values()) == 1
    client.wait_stored(set(ids), project_id=project)
    found = client.query_all(project_id=project)
    assert Counter(event.event_id for event in found) == ids
    by_id = {event.event_id: event for event in found}
    for sent in accepted:
        kept = by_id[sent.event_id]
        del kept.extensions[-1]
        assert kept == sent
    stats = client.stats(project_id=project)
    assert stats.total_events == len(accepted)
    assert dict(stats.events_by_type) == Counter(pb.EventType.Name(event.type) for event in accepted)
