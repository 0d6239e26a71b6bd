"""What keys and tenants may send: charged together, refused with the exact wait, kept over reloads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contracts.errors import Overloaded
from contracts.identity import Identity, RateLimits, Scope
from gateway.metrics import GatewayMetrics
from gateway.quotas import UNLIMITED, QuotaRules, Quotas


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Fixture:
    def __init__(self, rules: QuotaRules) -> None:
        self.clock = Clock()
        self.metrics = GatewayMetrics()
        self.quotas = Quotas(rules, self.metrics, monotonic=self.clock)

    def events(self, identity: Identity, count: int, size: int = 0) -> float:
        """Seconds to wait; 0: accepted."""
        charge = self.quotas.charge(identity)
        try:
            charge.size(size)
            charge.events(count)
        except Overloaded as error:
            return error.retry_after_seconds
        return 0.0

    def refused(self, quota: str) -> float:
        return self.metrics.registry.get_sample_value("gateway_quota_refused_total", {"quota": quota}) or 0.0


def key(name: str, tenant: str = "t", limits: RateLimits | None = None) -> Identity:
    return Identity(tenant, None, frozenset(Scope), name, limits or RateLimits())


def test_without_quotas_nothing_is_counted() -> None:
    fixture = Fixture(QuotaRules())
    assert fixture.quotas.charge(key("a")) is UNLIMITED
    assert fixture.events(key("a"), 10**9, 10**12) == 0.0


def test_a_key_is_refused_with_the_exact_wait() -> None:
    fixture = Fixture(QuotaRules(key=RateLimits(events_per_second=100), burst_seconds=2))
    assert fixture.events(key("a"), 200) == 0.0
    assert fixture.events(key("a"), 50) == pytest.approx(0.5)
    fixture.clock.now += 0.49
    assert fixture.events(key("a"), 50) == pytest.approx(0.01)
    fixture.clock.now += 0.0101
    assert fixture.events(key("a"), 50) == 0.0
    assert fixture.refused("key_events") == 2


def test_one_keys_quota_is_not_anothers() -> None:
    fixture = Fixture(QuotaRules(key=RateLimits(events_per_second=10), burst_seconds=1))
    assert fixture.events(key("a"), 10) == 0.0
    assert fixture.events(key("a"), 1) > 0
    assert fixture.events(key("b"), 10) == 0.0


def test_the_keys_of_a_tenant_share_its_quota_and_other_tenants_do_not() -> None:
    fixture = Fixture(QuotaRules(tenant=RateLimits(bytes_per_second=1000), burst_seconds=1))
    assert fixture.events(key("a"), 1, 600) == 0.0
    assert fixture.events(key("b"), 1, 600) == pytest.approx(0.2)
    assert fixture.events(key("c", tenant="u"), 1, 1000) == 0.0
    assert fixture.refused("tenant_bytes") == 1


def test_a_refusal_takes_nothing_from_any_quota() -> None:
    fixture = Fixture(
        QuotaRules(RateLimits(100, 1000), RateLimits(100, 1000), burst_seconds=1),
    )
    assert fixture.events(key("a"), 60, 600) == 0.0
    for _ in range(10):
        assert fixture.events(key("b"), 60, 300) == pytest.approx(0.2), "the tenant's events"
    assert fixture.events(key("b"), 40, 400) == 0.0, "neither its own quota nor the tenant's bytes were used"


def test_a_key_of_its_own_number_and_a_batch_larger_than_the_burst() -> None:
    fixture = Fixture(QuotaRules(key=RateLimits(events_per_second=1), burst_seconds=1))
    generous = key("a", limits=RateLimits(events_per_second=1000))
    assert fixture.events(generous, 1000) == 0.0
    assert fixture.events(key("b"), 500) == 0.0, "all of its burst is there"
    assert fixture.events(key("b"), 1) == pytest.approx(500)


def test_a_key_that_is_read_again_owes_what_it_owed() -> None:
    fixture = Fixture(QuotaRules(key=RateLimits(events_per_second=10), burst_seconds=1))
    before = key("a")
    assert fixture.events(before, 10) == 0.0
    assert fixture.events(replace(before), 10) == pytest.approx(1.0)
    assert fixture.events(key("a", limits=RateLimits(events_per_second=20)), 20) == 0.0, "another quota begins full"


def test_processes_share_what_is_granted() -> None:
    fixture = Fixture(QuotaRules(key=RateLimits(events_per_second=100), burst_seconds=1, processes=4))
    assert fixture.events(key("a"), 25) == 0.0
    assert fixture.events(key("a"), 25) == pytest.approx(1.0)


def test_of_unknown_size_not_one_byte_may_come_while_something_is_owed() -> None:
    fixture = Fixture(QuotaRules(key=RateLimits(bytes_per_second=100), burst_seconds=1))
    charge = fixture.quotas.charge(key("a"))
    charge.expect()
    charge.size(250)
    with pytest.raises(Overloaded) as refused:
        fixture.quotas.charge(key("a")).expect()
    assert refused.value.retry_after_seconds == pytest.approx(1.51)


def test_very_many_keys_are_forgotten_but_not_what_they_owe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.quotas._REMEMBERED", 10)
    fixture = Fixture(QuotaRules(key=RateLimits(events_per_second=10), burst_seconds=1))
    owing = key("owing")
    assert fixture.events(owing, 10_000) == 0.0
    for number in range(1000):
        fixture.clock.now += 0.5
        assert fixture.events(key(f"k{number}"), 1) == 0.0
    assert fixture.events(owing, 1) > 0
    assert len(fixture.quotas._rates) <= 40
