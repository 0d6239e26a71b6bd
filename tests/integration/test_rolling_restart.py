"""`chaukas-gateway restart` while agents send and somebody asks: nobody who does as told sees an error."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb

from cli.demo.session import Story, sdk
from tests.support.events import seeded_sessions, without_ours
from tests.support.stack import Client, Stack
from tests.support.told import GrpcSender, HttpSender, Loop, Reader
from tests.support.waiting import wait_for


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Stack]:
    """As on a machine with cores: two gateways on one port, two processors."""
    made = Stack(tmp_path / "stack", {"STACK_GATEWAYS": "2", "STACK_PROCESSORS": "2"})
    try:
        made.up()
        yield made
    finally:
        made.cli("down", check=False)


class Sender:
    """Sends seeded sessions in halves; knows what was acknowledged."""

    def __init__(self, stack: Stack, door: GrpcSender | HttpSender, project: str, seed: int) -> None:
        self.door = door
        self.accepted: dict[str, pb.Event] = {}
        self._sessions = seeded_sessions(seed, 10**6, tenant=stack.endpoints.tenant_id, project=project)

    def __call__(self) -> None:
        session = next(self._sessions)
        half = len(session) // 2
        for events in (session[:half], session[half:]):
            self.door.send(events)
            self.accepted.update((event.event_id, event) for event in events)


class Agent(threading.Thread):
    """The demo's story again and again through one client of the real SDK, as in an agent that runs for long."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(name="sdk", daemon=True)
        self.sent: list[str] = []
        self.problems: list[str] = []
        self.left = -1
        self._stack = stack
        self._stopping = threading.Event()
        self._failure: BaseException | None = None

    def run(self) -> None:
        collect = logging.Handler(logging.WARNING)
        collect.emit = lambda record: self.problems.append(record.getMessage())  # type: ignore[method-assign]
        logger = logging.getLogger("chaukas.sdk")
        logger.addHandler(collect)
        try:
            asyncio.run(self._work())
        except BaseException as error:
            self._failure = error
        finally:
            logger.removeHandler(collect)

    async def _work(self) -> None:
        with sdk(self._stack.endpoints) as (client, builder, tracer):
            async with client:
                while not self._stopping.is_set():
                    story = Story(client, builder, tracer)
                    await story.tell()
                    self.sent += story.event_ids
                    await client.flush()
                await client.flush()
                self.left = len(client._events_queue)

    def stop(self) -> None:
        self._stopping.set()
        self.join(60)
        if self._failure is not None:
            raise self._failure


class Watch:
    """A reader for whom every answer must fit those before it."""

    def __init__(self, reader: Reader, project: str) -> None:
        self._reader, self._project = reader, project
        self._seen: set[str] = set()

    def __call__(self) -> None:
        found = self._reader.pages(self._project)
        ids = {event.event_id for event in found}
        assert len(ids) == len(found), "a row twice"
        assert self._seen <= ids, "a row that was there is missing"
        self._seen = ids


def test_no_error_for_clients_that_do_as_told(own: Stack) -> None:
    project = "rolling"
    doors: tuple[GrpcSender | HttpSender, ...] = (GrpcSender(own), HttpSender(own))
    senders = [Sender(own, door, project, seed=4100 + n) for n, door in enumerate(doors)]
    reader = Reader(own)
    agent = Agent(own)
    agent.start()
    loops = [Loop(f"sender-{n}", sender, 0.05) for n, sender in enumerate(senders)]
    loops.append(Loop("reader", Watch(reader, project), 0.2))
    try:
        wait_for("traffic", lambda: all(loop.turns > 3 for loop in loops) and len(agent.sent) > 30)
        before = {one.process: one.pid for one in own.status().processes}
        own.cli("restart", "kafka", "sink", "processors")
        # While Kafka is away the gateway holds a call for GATEWAY_DELIVERY_SECONDS; a slower start of it is a 503 for the SDK.
        assert all("503" in problem for problem in agent.problems), agent.problems
        problems = len(agent.problems)
        own.cli("restart", "gateway")
        after = {one.process: one.pid for one in own.status().processes}
    finally:
        agent.stop()
        for loop in loops:
            loop.stop()
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())
    assert not agent.problems[problems:], "the SDK noticed the restart of a gateway"
    assert agent.left == 0

    # What was acknowledged is stored once, as it was sent.
    client = Client(own)
    accepted = {event_id: event for sender in senders for event_id, event in sender.accepted.items()}
    client.wait_stored(set(accepted), project_id=project)
    found = client.query_all(project_id=project)
    assert Counter(event.event_id for event in found) == Counter(accepted.keys())
    assert all(without_ours(event) == accepted[event.event_id] for event in found)
    client.wait_stored(set(agent.sent), project_id=own.endpoints.project_id)
    told_of = Counter(event.event_id for event in client.query_all(project_id=own.endpoints.project_id))
    assert told_of == Counter(agent.sent)
    client.close()
    for told in (*doors, reader):
        told.close()
