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


def test_the_last_holder_gives_it_back() -> None:
    admission = Admission(10, GatewayMetrics())
    with admission.lease(10) as lease:
        lease.hold()
    assert admission.used_bytes == 10
    lease.done()
    assert admission.used_bytes == 0
