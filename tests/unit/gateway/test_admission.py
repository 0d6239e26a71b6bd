"""Credit is taken before, refused beyond, and given back once."""

from __future__ import annotations

import pytest

from contracts.errors import Overloaded
from gateway.admission import Admission
from gateway.metrics import GatewayMetrics


def test_what_fits_is_admitted_and_what_does_not_is_refused_with_a_hint() -> None:
    metrics = GatewayMetrics()
    admission = Admission(100, metrics)
    first = admission.lease(100)
    with pytest.raises(Overloaded) as refused:
        admission.lease(1)
    assert refused.value.retry_after_seconds > 0
    assert metrics.registry.get_sample_value("gateway_overloaded_total") == 1
    assert metrics.registry.get_sample_value("gateway_inflight_bytes") == 100
    first.done()
    assert admission.used_bytes == 0
    admission.lease(100)


def test_a_lease_grows_and_a_failed_growth_keeps_what_it_has() -> None:
    admission = Admission(10, GatewayMetrics())
    lease = admission.lease()
    lease.grow(6)
    with pytest.raises(Overloaded):
        lease.grow(5)
    lease.grow(4)
    assert admission.used_bytes == 10
    lease.done()
    assert admission.used_bytes == 0


def test_calls_are_counted_until_their_last_holder_is_done() -> None:
    metrics = GatewayMetrics()
    admission = Admission(100, metrics, limit_calls=2)
    with admission.lease(), admission.lease(1) as held:
        held.hold()
        with pytest.raises(Overloaded, match="2 calls"):
            admission.lease()
    assert admission.calls == 1
    assert metrics.registry.get_sample_value("gateway_inflight_calls") == 1
    held.done()
    assert admission.calls == 0
    assert metrics.registry.get_sample_value("gateway_overloaded_total") == 1


def test_room_is_checked_before_a_size_is_known() -> None:
    admission = Admission(80, GatewayMetrics())
    admission.check()
    before = admission.filling
    admission.lease(10)
    assert (before, admission.filling) == (False, True)
    admission.lease(70)
    with pytest.raises(Overloaded):
        admission.check()
    assert admission.used_bytes == 80


def test_the_last_holder_gives_it_back() -> None:
    admission = Admission(10, GatewayMetrics())
    with admission.lease(10) as lease:
        lease.hold()
    assert admission.used_bytes == 10
    lease.done()
    assert admission.used_bytes == 0
