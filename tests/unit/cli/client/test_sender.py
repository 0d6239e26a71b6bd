from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2
from hypothesis import given
from hypothesis import strategies as st

from cli.client.connection import Connection
from cli.client.jsonl import Batch, Line
from cli.client.sender import UNEXPLAINED, Reject, Sender, rejected_indices
from cli.client.target import Target
from tests.support.events import event
from tests.unit.cli.fake_gateway import KEY, UNAVAILABLE, FakeGateway, retry_after, status


class Clock:
    """Time that passes only in `sleep`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def connect(gateway: FakeGateway, clock: Clock) -> Callable[..., Sender]:
    def make(patience_seconds: float = 60.0, **options: Any) -> Sender:
        connection = Connection(Target(gateway.endpoint, KEY))
        return Sender(connection, patience_seconds, sleep=clock.sleep, clock=lambda: clock.now, **options)

    return make


def line(number: int, event_id: str | None = None, tenant: str = "t") -> Line:
    made = event(tenant=tenant, event_id=f"e{number}")
    made.event_id = f"e{number}" if event_id is None else event_id
    return Line(number, number * 100, made)


def batch(*lines: Line) -> Batch:
    return Batch([x for x in lines if x.event], [x for x in lines if not x.event], max(x.end_bytes for x in lines))


def sent(sender: Sender, *batches_: Batch) -> list[Reject]:
    return [reject for rejects in sender.send(batches_) for reject in rejects]


def test_what_is_accepted_is_counted_in_order(gateway: FakeGateway, connect: Callable[..., Sender]) -> None:
    sender = connect()
    assert sent(sender, batch(line(1), line(2)), batch(line(3))) == []
    assert [x.event_id for x in gateway.events] == ["e1", "e2", "e3"]
    assert (sender.progress.lines, sender.progress.accepted, sender.progress.end_bytes) == (3, 3, 300)


def test_rejects_have_their_line_and_reason(connect: Callable[..., Sender]) -> None:
    rejects = sent(connect(), batch(line(1), Line(2, 200, None, "not JSON"), line(3, tenant="x"), line(4, event_id="")))
    assert rejects == [
        Reject(2, "", "not JSON"),
        Reject(3, "e3", "tenant_id: the key is bound to another tenant"),
        Reject(4, "", "event_id: is required"),
    ]


def test_the_server_s_hint_is_the_least_wait(
    gateway: FakeGateway, connect: Callable[..., Sender], clock: Clock
) -> None:
    gateway.failures = [
        UNAVAILABLE,
        status(code_pb2.RESOURCE_EXHAUSTED, "full", retry_after(7)),
        status(code_pb2.DEADLINE_EXCEEDED, "late"),
    ]
    waits: list[str] = []
    sender = connect(on_wait=lambda error, seconds: waits.append(error.code.name))
    assert sent(sender, batch(line(1))) == []
    assert waits == ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"]
    assert 0.25 <= clock.slept[0] <= 0.32
    assert 7 <= clock.slept[1] <= 8.75
    assert 0.8 <= clock.slept[2] <= 1.0
    assert sender.progress.retries == 3
    assert [x.event_id for x in gateway.events] == ["e1"]


def test_patience_ends(gateway: FakeGateway, connect: Callable[..., Sender], clock: Clock) -> None:
    gateway.failures = [UNAVAILABLE] * 100
    sender = connect(patience_seconds=10.0)
    with pytest.raises(grpc.RpcError):
        sent(sender, batch(line(1)))
    assert clock.now <= 10
    assert 3 <= sender.progress.retries < 20
    assert sender.progress.lines == 0


def test_what_retrying_cannot_cure_is_raised_at_once(
    gateway: FakeGateway, connect: Callable[..., Sender], clock: Clock
) -> None:
    gateway.failures = [status(code_pb2.PERMISSION_DENIED, "the key may not ingest")]
    with pytest.raises(grpc.RpcError):
        sent(connect(), batch(line(1)))
    assert clock.slept == []


def test_reasons_that_did_not_fit_are_asked_for(gateway: FakeGateway, connect: Callable[..., Sender]) -> None:
    lines = [line(number, tenant="x" if number % 2 else "t") for number in range(1, 401)]
    sender = connect(explanations_left=1000)
    rejects = sent(sender, batch(*lines))
    assert [reject.line for reject in rejects] == list(range(1, 401, 2))
    assert {reject.reason for reject in rejects} == {"tenant_id: the key is bound to another tenant"}
    assert sorted(x.event_id for x in gateway.events) == sorted(f"e{number}" for number in range(2, 401, 2))


def test_explanations_are_bounded(gateway: FakeGateway, connect: Callable[..., Sender]) -> None:
    sender = connect(explanations_left=0)
    rejects = sent(sender, batch(*(line(number, tenant="x") for number in range(1, 401))))
    assert len(rejects) == 400
    assert rejects[0].reason.startswith("tenant_id")
    assert rejects[-1].reason == UNEXPLAINED
    assert len(gateway.requests) == 1


def test_a_gateway_with_smaller_limits_gets_smaller_batches(
    gateway: FakeGateway, connect: Callable[..., Sender]
) -> None:
    gateway.max_batch_events = 3
    assert sent(connect(), batch(*(line(number) for number in range(1, 11)))) == []
    assert [x.event_id for x in gateway.events] == [f"e{number}" for number in range(1, 11)]


def test_one_event_the_gateway_refuses_as_a_whole_is_one_reject(
    gateway: FakeGateway, connect: Callable[..., Sender]
) -> None:
    gateway.max_batch_events = 0
    (reject,) = sent(connect(), batch(line(7)))
    assert (reject.line, reject.event_id) == (7, "e7")
    assert "at most 0 events" in reject.reason


def test_a_source_that_fails_loses_nothing_that_was_sent(gateway: FakeGateway, connect: Callable[..., Sender]) -> None:
    def source() -> Any:
        yield batch(line(1))
        raise OSError(5, "Input/output error")

    sender = connect()
    with pytest.raises(OSError, match="Input/output"):
        for _ in sender.send(source()):
            pass
    assert sender.progress.accepted == len(gateway.events) == 1


def ids(lines: Sequence[Line], rejected: set[int]) -> list[str]:
    return [lines[index].event.event_id or f"#{index}" for index in sorted(rejected)]  # type: ignore[union-attr]


@given(st.data())
def test_every_rejected_event_is_found_whatever_was_explained(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(["", "a", "b", "c", "#0", "#2"]), min_size=1, max_size=8))
    lines = [line(number, event_id=name) for number, name in enumerate(names)]
    rejected = data.draw(st.sets(st.integers(0, len(lines) - 1)))
    explained = data.draw(st.sets(st.sampled_from(sorted(rejected)))) if rejected else set()
    found = rejected_indices(lines, ids(lines, rejected), [(index, f"why {index}") for index in explained])
    assert len(found) == len(rejected)
    assert {index for index, reason in found.items() if reason} == explained
    if len(set(names)) == len(names) and not any(name.startswith("#") for name in names):
        assert set(found) == rejected
