"""Seeded traffic through the front doors, by clients that write down what they were told about every event.

Each sender is a thread with sessions of its own, so that ids never meet. It sends a session in a few requests, one after
the other, and behaves as clients do: what is not acknowledged is sent again while the answer says that this is safe; some
give up and leave their events in doubt; some send an acknowledged request again, or an acknowledged id with other content
(which must never replace the first); some requests hold an event that the gateway must reject.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import grpc
import httpx
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2

from cli.client import errors
from tests.conservation.system import System
from tests.support.events import seeded_sessions
from tests.support.stack import Client

#: The longest a client keeps on sending one request, seconds.
PATIENCE_SECONDS = 300.0
_CALL_SECONDS = 15.0
#: Sessions of one sender that are in progress at the same time.
_OPEN_SESSIONS = 8
T = TypeVar("T")

_YEAR_NS = 365 * 86_400 * 10**9
_RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED)


class NotAcknowledged(Exception):
    """The call failed and may be repeated."""

    def __init__(self, code: str, retry_after_seconds: float | None) -> None:
        super().__init__(code)
        self.code = code
        self.retry_after_seconds = retry_after_seconds


@dataclass
class Ledger:
    """What the clients know. Filled by several threads, each with events of its own; read when they have ended."""

    #: Every event that was ever sent to be accepted, by id: the content first sent.
    sent: dict[str, pb.Event] = field(default_factory=dict)
    #: Ids whose call was answered OK.
    acknowledged: set[str] = field(default_factory=set)
    #: Other contents that were sent with an id that was acknowledged before.
    conflicting: dict[str, list[pb.Event]] = field(default_factory=dict)
    #: Ids of events that the gateway had to reject, and did.
    rejected: set[str] = field(default_factory=set)
    #: By answer of a call: how many, "OK" included.
    answers: Counter[str] = field(default_factory=Counter)
    #: Failures that carried no hint when to try again, by answer.
    unhinted: Counter[str] = field(default_factory=Counter)
    #: Longest time a request took until it was acknowledged, repeats included, seconds.
    longest_seconds: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def in_doubt(self) -> set[str]:
        """Sent, never acknowledged: may be stored or not."""
        return self.sent.keys() - self.acknowledged


class Traffic:
    """Senders on both doors until :meth:`stop`. Their sessions depend on the seed alone; how far they get does not."""

    def __init__(self, system: System, project: str, seed: int, senders: int = 3, pause_seconds: float = 0.02) -> None:
        self.project = project
        self.ledger = Ledger()
        self._stopping = threading.Event()
        doors: list[type[_Door]] = [_GrpcBatches, _HttpBatches, _GrpcSingles]
        self._senders = [
            _Sender(self, doors[number % 3](system), seed * 1000 + number, pause_seconds) for number in range(senders)
        ]
        self._system = system

    def start(self) -> None:
        for sender in self._senders:
            sender.start()

    def wait_for_more(self, count: int, seconds: float = 180) -> None:
        """Until `count` more events are acknowledged. Raises what a sender raised."""
        target = len(self.ledger.acknowledged) + count
        deadline = time.monotonic() + seconds
        while len(self.ledger.acknowledged) < target:
            self._raise_failures()
            assert time.monotonic() < deadline, f"{count} more events were not acknowledged within {seconds:.0f} s"
            time.sleep(0.05)

    def stop(self) -> Ledger:
        """Let every sender finish its request; what they know."""
        self._stopping.set()
        for sender in self._senders:
            sender.join(PATIENCE_SECONDS + 60)
            assert not sender.is_alive(), f"{sender.name} did not end"
        self._raise_failures()
        return self.ledger

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def pause(self, seconds: float) -> None:
        """Wait, unless it is time to stop."""
        self._stopping.wait(seconds)

    def _raise_failures(self) -> None:
        for sender in self._senders:
            if sender.failure is not None:
                raise sender.failure


class _Door:
    """One client's connection. `send` returns the ids that were rejected, or raises NotAcknowledged."""

    def __init__(self, system: System) -> None:
        self.system = system

    def send(self, events: Sequence[pb.Event]) -> set[str]:
        raise NotImplementedError

    def close(self) -> None:
        """Give the connection back."""


class _GrpcBatches(_Door):
    def __init__(self, system: System) -> None:
        super().__init__(system)
        self._client = Client(system)

    def send(self, events: Sequence[pb.Event]) -> set[str]:
        request = server_pb2.IngestEventBatchRequest()
        request.event_batch.events.extend(events)
        answer = _grpc_call(
            lambda: self._client.stub.IngestEventBatch(request, metadata=self._client.metadata, timeout=_CALL_SECONDS)
        )
        assert answer.accepted_count + answer.rejected_count == len(events), answer
        return set(answer.rejected_event_ids)

    def close(self) -> None:
        self._client.close()


class _GrpcSingles(_GrpcBatches):
    """One call an event: the door of the smallest clients."""

    def send(self, events: Sequence[pb.Event]) -> set[str]:
        rejected = set()
        for event in events:
            request = server_pb2.IngestEventRequest(event=event)
            try:
                _grpc_call(
                    lambda request=request: self._client.stub.IngestEvent(  # type: ignore[misc]
                        request, metadata=self._client.metadata, timeout=_CALL_SECONDS
                    )
                )
            except grpc.RpcError as error:
                if errors.parse(error).code is not grpc.StatusCode.INVALID_ARGUMENT:
                    raise
                rejected.add(event.event_id)
        return rejected


class _HttpBatches(_Door):
    """The SDK's own route."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self._client = httpx.Client(timeout=_CALL_SECONDS)

    def send(self, events: Sequence[pb.Event]) -> set[str]:
        request = server_pb2.IngestEventBatchRequest()
        request.event_batch.events.extend(events)
        endpoints = self.system.endpoints
        headers = {
            "authorization": f"Bearer {endpoints.api_key}",
            "content-type": "application/x-protobuf",
        }
        try:
            answer = self._client.post(
                f"{endpoints.http_url}/events/batch", content=request.SerializeToString(), headers=headers
            )
        except httpx.HTTPError as error:
            raise NotAcknowledged(type(error).__name__, None) from error
        if answer.status_code in (429, 503):
            after = answer.headers.get("retry-after")
            raise NotAcknowledged(str(answer.status_code), float(after) if after else None)
        assert answer.status_code == 202, f"{answer.status_code}: {answer.text}"
        found = answer.json()
        assert found["accepted_count"] + found["rejected_count"] == len(events), found
        return set(found["rejected_event_ids"])

    def close(self) -> None:
        self._client.close()


def _grpc_call(call: Callable[[], T]) -> T:
    try:
        return call()
    except grpc.RpcError as error:
        parsed = errors.parse(error)
        if parsed.code not in _RETRIED:
            raise
        raise NotAcknowledged(parsed.code.name, parsed.retry_after_seconds) from error


class _Sender(threading.Thread):
    def __init__(self, traffic: Traffic, door: _Door, seed: int, pause_seconds: float) -> None:
        super().__init__(name=f"sender-{type(door).__name__}-{seed}", daemon=True)
        self.failure: BaseException | None = None
        self._traffic = traffic
        self._ledger = traffic.ledger
        self._door = door
        self._rng = random.Random(seed)
        self._pause_seconds = pause_seconds
        tenant = door.system.endpoints.tenant_id
        self._sessions = seeded_sessions(seed, 10**6, tenant=tenant, project=traffic.project)

    def run(self) -> None:
        """Agents work side by side: each request is the next one of any session that is open."""
        opened: list[list[pb.Event]] = []
        try:
            while not self._traffic.stopping:
                while len(opened) < _OPEN_SESSIONS:
                    opened.append(self._with_odd_times(next(self._sessions)))
                session = self._rng.choice(opened)
                count = self._rng.choice((2, 3, 8, 20))
                if not self._send_next(session[:count]):
                    session.clear()  # the rest is never sent: an agent that died
                del session[:count]
                if not session:
                    opened.remove(session)
                self._traffic.pause(self._pause_seconds)
        except BaseException as error:
            self.failure = error
        finally:
            self._door.close()

    def _send_next(self, request: list[pb.Event]) -> bool:
        """Whether it was acknowledged in the end."""
        rng = self._rng
        hopeless = [_rejectable(request[0])] if rng.random() < 0.05 else []
        if not self._send(request, hopeless, patient=rng.random() < 0.9):
            return False
        dice = rng.random()
        if dice < 0.08:
            self._send(request, [], patient=True)
        elif dice < 0.16:
            self._send_changed(rng.choice(request))
        return True

    def _send(self, request: list[pb.Event], hopeless: list[pb.Event], *, patient: bool) -> bool:
        """Whether it was acknowledged in the end."""
        ledger, started = self._ledger, time.monotonic()
        with ledger.lock:
            for event in request:
                ledger.sent.setdefault(event.event_id, event)
        while True:
            try:
                refused = self._door.send([*request, *hopeless])
            except NotAcknowledged as error:
                self._note(error)
                waited = time.monotonic() - started
                if not patient or waited > PATIENCE_SECONDS or (self._traffic.stopping and waited > 60):
                    return False
                time.sleep(min(error.retry_after_seconds or self._rng.uniform(0.1, 0.5), 2.0))
                continue
            assert refused == {event.event_id for event in hopeless}, refused
            with ledger.lock:
                ledger.answers["OK"] += 1
                ledger.acknowledged.update(event.event_id for event in request)
                ledger.rejected.update(refused)
                ledger.longest_seconds = max(ledger.longest_seconds, time.monotonic() - started)
            return True

    def _send_changed(self, event: pb.Event) -> None:
        """The id of an acknowledged event again, with other content, in the same session."""
        changed = pb.Event()
        changed.CopyFrom(event)
        changed.tags.append(f"changed-{self._rng.randrange(1000)}")
        ledger = self._ledger
        with ledger.lock:
            ledger.conflicting.setdefault(event.event_id, []).append(changed)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                self._door.send([changed])
                return
            except NotAcknowledged as error:
                self._note(error)
                time.sleep(min(error.retry_after_seconds or 0.3, 2.0))

    def _note(self, error: NotAcknowledged) -> None:
        with self._ledger.lock:
            self._ledger.answers[error.code] += 1
            if error.retry_after_seconds is None:
                self._ledger.unhinted[error.code] += 1

    def _with_odd_times(self, session: list[pb.Event]) -> list[pb.Event]:
        """Clocks jump: some sessions are years away, some events have no time at all."""
        dice = self._rng.random()
        if dice < 0.05:
            shift = self._rng.choice((-20, -1, 1, 20)) * _YEAR_NS
            for event in session[len(session) // 2 :]:
                event.timestamp.FromNanoseconds(event.timestamp.ToNanoseconds() + shift)
        elif dice < 0.1:
            for event in session[::3]:
                event.ClearField("timestamp")
        return session


def _rejectable(event: pb.Event) -> pb.Event:
    """An event that lacks what every event needs."""
    bad = pb.Event()
    bad.CopyFrom(event)
    bad.event_id = f"reject-{event.event_id}"
    bad.type = pb.EVENT_TYPE_UNSPECIFIED
    return bad
