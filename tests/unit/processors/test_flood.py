"""When dead letters stop a worker, and when they do not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from contracts.dead_letters import Reason
from contracts.flood import RUN, SHARE_RECORDS
from processors.flood import Flood, FloodOfDeadLetters
from processors.intake import BadRecord, RawRecord

BAD = BadRecord(Reason.UNPARSEABLE, "no Event")


def record(tenant: str | None = None, offset: int = 0) -> RawRecord:
    headers = [] if tenant is None else [("tenant_id", tenant.encode())]
    return RawRecord("raw", 3, offset, b"k", b"v", list(headers), 0)


def feed(flood: Flood, tenants: Sequence[str | None]) -> None:
    for number, tenant in enumerate(tenants):
        flood.bad(BAD, record(tenant, number))
        flood.check(record(tenant, number))


def test_a_run_without_tenants_stops() -> None:
    flood = Flood()
    feed(flood, [None] * (RUN - 1))
    with pytest.raises(FloodOfDeadLetters, match=r"100 records in a row of raw-3 up to offset 99 .*unparseable"):
        flood.bad(BAD, record(None, 99))
        flood.check(record(None, 99))


def test_a_run_of_two_tenants_stops() -> None:
    with pytest.raises(FloodOfDeadLetters):
        feed(Flood(), ["a", "b"] * (RUN // 2))


def test_a_run_of_one_tenant_does_not() -> None:
    feed(Flood(), ["a"] * 5 * RUN)


def test_a_good_record_ends_a_run() -> None:
    flood = Flood()
    for _ in range(5):
        feed(flood, [None] * (RUN - 1) if flood._counts._seen == 0 else [None])
        flood.good()


def test_more_than_one_percent_of_a_thousand_stops() -> None:
    flood = Flood()
    for number in range(SHARE_RECORDS - 11):
        flood.good()
        if number % 95 == 0:
            feed(flood, [None])  # 11 by the end, but fewer than a thousand records seen
    assert flood._counts._seen == SHARE_RECORDS
    with pytest.raises(FloodOfDeadLetters, match="of the last 1000 records"):
        feed(flood, [None])


def test_one_percent_does_not() -> None:
    flood = Flood()
    for _ in range(30):
        for _ in range(99):
            flood.good()
        feed(flood, [None])


def test_few_records_do_not_make_a_share() -> None:
    flood = Flood()
    for _ in range(40):
        feed(flood, [None])
        flood.good()


def test_accepted_letters_do_not_count() -> None:
    flood = Flood()
    feed(flood, [None] * (RUN - 1))
    for _ in range(1000):
        flood.skip()
    flood.check(record())
