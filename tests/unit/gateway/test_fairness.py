"""One noisy tenant does not keep another out: counted, not timed."""

from __future__ import annotations

from collections import Counter, deque

import pytest

from contracts.errors import Overloaded
from gateway.admission import Admission, Lease
from gateway.metrics import GatewayMetrics

MIB = 1 << 20
CALL_BYTES = 16 * 1024


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def admission(limit: int, clock: Clock, calls: int = 1000) -> Admission:
    return Admission(limit, GatewayMetrics(), calls, monotonic=clock)


def try_call(room: Admission, tenant: str, size: int) -> Lease | None:
    try:
        lease = room.lease()
    except Overloaded:
        return None
    try:
        lease.assign(tenant)
        lease.grow(size)
    except Overloaded:
        lease.done()
        return None
    return lease


def shared_room(*, fair: bool, noisy_tenants: int = 1) -> tuple[Counter[str], Counter[str]]:
    """Noisy tenants send as much as they can, a quiet one a call each tick; Kafka takes 32 calls a tick, in order."""
    clock = Clock()
    room = admission(4 * MIB, clock)
    queue: deque[Lease] = deque()
    sent, accepted = Counter[str](), Counter[str]()
    for tick in range(1000):
        clock.now = tick * 0.01
        callers = [(f"noisy-{number % noisy_tenants}", "noisy") for number in range(60)] + [("quiet", "quiet")]
        for tenant, kind in callers:
            sent[kind] += 1
            if (lease := try_call(room, tenant if fair else "everybody", CALL_BYTES)) is not None:
                accepted[kind] += 1
                queue.append(lease)
        for _ in range(min(32, len(queue))):
            queue.popleft().done()
    return sent, accepted


@pytest.mark.parametrize("noisy_tenants", [1, 3, 20])
def test_a_quiet_tenant_gets_in_beside_noisy_ones(noisy_tenants: int) -> None:
    sent, accepted = shared_room(fair=True, noisy_tenants=noisy_tenants)
    assert accepted["quiet"] / sent["quiet"] > 0.99
    _, unfair = shared_room(fair=False, noisy_tenants=noisy_tenants)
    assert unfair["quiet"] / sent["quiet"] < 0.5, "the test sees what it is about"
    assert accepted.total() / unfair.total() > 0.99, "and the room is used as well as ever"


def test_a_tenant_alone_may_hold_all_of_it() -> None:
    clock = Clock()
    room = admission(1000, clock)
    assert try_call(room, "t", 1000) is not None
    assert try_call(room, "t", 1) is None


def test_it_is_alone_again_when_the_other_has_been_silent_for_long() -> None:
    clock = Clock()
    room = admission(900, clock)
    other = try_call(room, "u", 1)
    assert other is not None
    other.done()
    assert try_call(room, "t", 801) is None
    first = try_call(room, "t", 800)
    assert first is not None
    first.done()
    clock.now += 301
    assert try_call(room, "t", 900) is not None


def test_calls_are_shared_as_bytes_are() -> None:
    clock = Clock()
    room = admission(MIB, clock, calls=90)
    quiet = try_call(room, "quiet", 1)
    assert quiet is not None
    quiet.done()
    held = [lease for _ in range(90) if (lease := try_call(room, "noisy", 1)) is not None]
    assert len(held) < 90
    assert all(try_call(room, "quiet", 1) is not None for _ in range(5))


def test_what_was_held_is_given_back_to_the_tenant_too() -> None:
    clock = Clock()
    room = admission(900, clock)
    for _ in range(100):
        one, other = try_call(room, "t", 400), try_call(room, "u", 100)
        assert one is not None
        assert other is not None
        one.hold()
        one.done()
        assert try_call(room, "t", 401) is None
        one.done()
        other.done()
    assert (room.used_bytes, room.calls) == (0, 0)


def test_who_holds_little_is_known_only_beside_others() -> None:
    clock = Clock()
    room = admission(1600, clock)
    assert try_call(room, "t", 10) is not None
    assert not room.holds_little(room.holding("t"))
    assert try_call(room, "u", 800) is not None
    assert room.holds_little(room.holding("t"))
    assert not room.holds_little(room.holding("u"))
