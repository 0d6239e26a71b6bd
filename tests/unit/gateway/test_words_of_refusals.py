"""Whatever keeps a call from being confirmed, its caller is told that sending again is safe, and when: on both doors.

A record may still be delivered after its call was answered, and a caller who is not told gives up or counts a loss.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from contracts.errors import GatewayError, TooSlow
from contracts.identity import RateLimits
from gateway.admission import NOTHING_ACCEPTED, RETRY_AFTER_SECONDS
from gateway.draining import Draining
from gateway.grpc_errors import internal_error as grpc_internal_error
from gateway.grpc_errors import status_of
from gateway.http_body import BodyReader
from gateway.http_errors import (
    HIGH_MEMORY,
    Answer,
    HttpRefusal,
    answer_of,
    body_too_slow,
    internal_error,
    too_much_protobuf,
)
from gateway.metrics import GatewayMetrics
from gateway.quotas import QuotaRules, Quotas
from runtime.kafka import ProduceRefused
from tests.unit.gateway.fakes import KafkaProblem, identity
from tests.unit.gateway.test_publisher import Setup


async def no_room_for_bytes() -> None:
    Setup().admission.lease(1001)


async def no_room_for_one_byte() -> None:
    setup = Setup()
    setup.admission.lease(1000)
    setup.admission.check()


async def no_room_for_a_call() -> None:
    setup = Setup()
    setup.admission.limit_calls = 1
    setup.admission.lease()
    setup.admission.lease()


async def a_full_queue() -> None:
    setup = Setup()
    setup.producer.room = 1
    setup.send(2)


async def a_producer_that_refuses() -> None:
    setup = Setup()
    setup.producer.refusal = ProduceRefused(KafkaProblem("_FATAL"))
    setup.send(1)


async def no_report_in_time() -> None:
    setup = Setup()
    await setup.publisher.confirm(setup.send(1), 0.01)


async def a_failed_record() -> None:
    setup = Setup()
    delivery = setup.send(2)
    setup.producer.report(setup.producer.records[0])
    setup.producer.report(setup.producer.records[1], KafkaProblem("_MSG_TIMED_OUT"))
    await setup.publisher.confirm(delivery, 5)


async def a_fatal_error_that_purges_the_queue() -> None:
    setup = Setup()
    delivery = setup.send(2)
    setup.producer.config["error_cb"](KafkaProblem("_FATAL", is_fatal=True))
    await setup.publisher.confirm(delivery, 5)


async def a_process_that_leaves_with_records_unconfirmed() -> None:
    setup = Setup()
    delivery = setup.send(1)
    setup.publisher._draining.give_up()
    await setup.publisher.confirm(delivery, 60)


async def a_process_that_takes_no_more() -> None:
    draining = Draining()
    await draining.refuse_until_quiet(0)
    draining.check()


async def a_process_that_leaves_in_the_middle_of_a_body() -> None:
    draining = Draining()

    async def receive() -> dict[str, object]:
        asyncio.get_running_loop().call_soon(draining.give_up)
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"a", "more_body": True}

    with Setup().admission.lease() as lease:
        await BodyReader(60, draining).read(receive, {}, lease, limit=1 << 40, too_large=too_much_protobuf)


async def a_message_that_is_too_slow() -> None:
    raise TooSlow(f"the message did not arrive within 1 seconds; {NOTHING_ACCEPTED}", RETRY_AFTER_SECONDS)


async def kafka_that_falls_behind() -> None:
    setup = Setup()
    setup.publisher._behind_seconds = 0
    setup.send(1)
    setup.publisher.check()


async def a_quota_of_events() -> None:
    rules = QuotaRules(key=RateLimits(events_per_second=1), burst_seconds=1)
    charge = Quotas(rules, GatewayMetrics()).charge(identity())
    charge.events(2)
    charge.events(1)


async def a_quota_of_bytes() -> None:
    rules = QuotaRules(tenant=RateLimits(bytes_per_second=1), burst_seconds=1)
    charge = Quotas(rules, GatewayMetrics()).charge(identity())
    charge.size(2)
    charge.expect()


async def a_share_of_bytes() -> None:
    admission = Setup().admission
    other, mine = admission.lease(), admission.lease()
    other.assign("other")
    mine.assign("mine")
    mine.grow(900)


async def a_share_of_calls() -> None:
    setup = Setup()
    setup.admission.limit_calls = 10
    setup.admission.lease().assign("other")
    for _ in range(9):
        setup.admission.lease().assign("mine")


PATHS = [
    a_quota_of_events,
    a_quota_of_bytes,
    a_share_of_bytes,
    a_share_of_calls,
    kafka_that_falls_behind,
    no_room_for_bytes,
    no_room_for_one_byte,
    no_room_for_a_call,
    a_full_queue,
    a_producer_that_refuses,
    no_report_in_time,
    a_failed_record,
    a_fatal_error_that_purges_the_queue,
    a_process_that_leaves_with_records_unconfirmed,
    a_process_that_takes_no_more,
    a_process_that_leaves_in_the_middle_of_a_body,
    a_message_that_is_too_slow,
]
RETRIED = {code_pb2.UNAVAILABLE, code_pb2.RESOURCE_EXHAUSTED, code_pb2.DEADLINE_EXCEEDED}


def retry_seconds(status: status_pb2.Status) -> float:
    hint = error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(hint)
    return float(hint.retry_delay.ToMilliseconds()) / 1000


def hint_of(answer: Answer) -> int:
    return int(dict(answer.headers)[b"retry-after"])


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
async def test_every_failure_says_that_a_resend_is_safe(path: Callable[[], Awaitable[None]]) -> None:
    with pytest.raises(GatewayError) as failed:
        await path()
    status, answer = status_of(failed.value), answer_of(failed.value)
    assert status.code in RETRIED
    assert "safe" in status.message
    assert retry_seconds(status) > 0
    assert answer.status in (408, 429, 503)
    assert b"safe" in answer.body
    assert hint_of(answer) >= 1
    assert HIGH_MEMORY.encode() not in answer.body  # or the SDK would split its batch, for nothing


@pytest.mark.parametrize("refusal", [body_too_slow(1), too_much_protobuf("it is too much")])
def test_a_refusal_that_only_http_has_says_that_nothing_was_accepted(refusal: HttpRefusal) -> None:
    answer = answer_of(refusal)
    assert b"nothing of" in answer.body
    assert hint_of(answer) >= 1
    assert (HIGH_MEMORY.encode() in answer.body) == (answer.status == 503)


def test_what_should_not_happen_says_it_too() -> None:
    """Some of the call's records may be on their way."""
    status, answer = grpc_internal_error(), internal_error()
    assert (status.code, answer.status) == (code_pb2.INTERNAL, 500)
    assert "safe" in status.message
    assert b"safe" in answer.body
    assert retry_seconds(status) > 0
    assert hint_of(answer) >= 1
