"""From a request's bytes to records and outcomes, without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1.server_pb2 import IngestEventBatchRequest, IngestEventRequest
from structlog.testing import capture_logs

from contracts.errors import InvalidInput, PermissionDenied, Unavailable
from contracts.spec_json import event_to_json
from contracts.traceparent import well_formed_traceparent
from contracts.validation import Limits
from contracts.wire import TooManyEvents, frame_batch
from gateway import ingest as module
from gateway.admission import Admission
from gateway.call import Call
from gateway.ingest import Ingest
from gateway.metrics import GatewayMetrics
from gateway.publisher import Publisher
from tests.support.events import event
from tests.support.spans import SAMPLED, TRACE, Spans
from tests.unit.gateway.fakes import FakeProducer, KafkaProblem, identity

NOW_NS = 1_767_225_600_123_456_789


class Setup:
    def __init__(self) -> None:
        self.metrics = GatewayMetrics()
        self.admission = Admission(1 << 30, self.metrics)
        self.producer = FakeProducer({})

        def producer(config: Mapping[str, Any]) -> FakeProducer:
            return self.producer

        self.publisher = Publisher({}, "raw", self.metrics, producer=producer)
        self.ingest = Ingest(self.publisher, Limits(), self.metrics, clock_ns=lambda: NOW_NS)

    def call(self, **fields: Any) -> Call:
        lease = self.admission.lease()
        lease.hold()
        return Call(**{"identity": identity(), "door": "grpc", "lease": lease, "seconds": 5, **fields})

    async def batch(self, body: bytes, most: int = 100_000, **fields: Any) -> module.BatchOutcome:
        return await self.ingest.batch_from_wire(self.call(**fields), body, most)


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    made = Setup()
    yield made
    made.publisher.close(1.0)


async def test_while_kafka_falls_behind_those_who_fill_the_room_are_refused_and_others_are_not(setup: Setup) -> None:
    setup.admission.limit_bytes = 1000
    noisy, quiet = setup.admission.lease(), setup.admission.lease()
    noisy.assign("noisy")
    quiet.assign("quiet")
    noisy.grow(500)
    setup.producer.auto = False
    setup.publisher._behind_seconds = -1.0
    await setup.ingest._offer_wire(setup.call(), request([event(tenant="t", project="p")]), 10)
    with pytest.raises(Unavailable, match="Kafka has not confirmed"):
        setup.ingest.check(setup.admission, noisy)
    setup.ingest.check(setup.admission, quiet)
    with pytest.raises(Unavailable):
        setup.ingest.check(setup.admission, setup.admission.lease())  # of nobody yet
    setup.producer.report_all()


def request(events: list[pb.Event], batch_id: str = "b") -> bytes:
    return bytes(
        IngestEventBatchRequest(event_batch=pb.EventBatch(batch_id=batch_id, events=events)).SerializeToString()
    )


async def test_a_record_is_the_clients_bytes_with_what_the_gateway_knows_beside_them(setup: Setup) -> None:
    # Fields in an order no serializer writes, and one nobody knows.
    odd = b"\x12\x01t" + b"\x0a\x02id" + b"\x38\x02" + b"\xf2\x3f\x03new" + b"\x1a\x01p"
    await setup.batch(frame_batch([odd]) + request([]), traceparent="tp")
    (record,) = setup.producer.records
    assert (record.topic, record.value, record.key, record.timestamp) == ("raw", odd, "id", NOW_NS // 1_000_000)
    assert record.headers == {
        "tenant_id": "t",
        "project_id": "p",
        "event_id": "id",
        "event_type": "EVENT_TYPE_SESSION_END",
        "received_at_ns": str(NOW_NS).encode(),
        "schema": b"chaukas.spec.common.v1.Event",
        "batch_id": "b",
        "traceparent": "tp",
    }


async def test_records_of_a_traced_call_go_on_from_their_sending(setup: Setup) -> None:
    spans = Spans()
    secret = event(tenant="t", project="p", event_id="e1", session="s-1", agent_name="the content")
    for body in (request([secret, event(tenant="other", event_id="e2")]), None):
        span = spans.tracing.call("IngestEvent", SAMPLED, {})
        call = setup.call(traceparent=SAMPLED, span=span)
        if body is None:
            await setup.ingest.event_from_wire(call, IngestEventRequest(event=secret).SerializeToString())
        else:
            await setup.ingest.batch_from_wire(call, body, 10)
        assert span is not None
        span.end({}, failed=False)
    sending, batch, sending_one, single = spans.ended
    for record, sent in zip(setup.producer.records, (sending, sending_one), strict=True):
        assert sent.context is not None
        assert record.headers["traceparent"] == f"00-{TRACE}-{sent.context.span_id:016x}-01"
        assert sent.name == "send raw"
        assert (sent.attributes or {})["messaging.batch.message_count"] == 1
    assert batch.attributes == {"chaukas.batch_id": "b", "chaukas.events.accepted": 1, "chaukas.events.rejected": 1}
    assert single.attributes == {"chaukas.event_id": "e1", "chaukas.events.accepted": 1, "chaukas.events.rejected": 0}
    for one in spans.ended:
        assert "content" not in one.to_json() and "s-1" not in one.to_json()


async def test_sending_that_fails_is_seen(setup: Setup) -> None:
    spans = Spans()
    span = spans.tracing.call("IngestEvent", SAMPLED, {})
    assert span is not None
    setup.producer.auto = False
    with pytest.raises(Unavailable):
        await setup.ingest.batch_from_wire(setup.call(span=span, seconds=0.01), request([event(tenant="t")]), 10)
    span.end({}, failed=True)
    assert [one.status.is_ok for one in spans.ended] == [False, False]
    setup.producer.report_all()


async def test_rejects_are_logged_by_their_ids(setup: Setup) -> None:
    bad = [event(tenant="other", event_id=f"id-{number}", agent_name="the content") for number in range(12)]
    with capture_logs() as lines:
        await setup.batch(request(bad))
    (line,) = lines
    assert (line["event"], line["log_level"], line["rejected"]) == ("events_rejected", "debug", 12)
    assert line["event_ids"] == [f"id-{number}" for number in range(10)]
    assert "content" not in str(line)


@pytest.mark.parametrize(("session", "trace", "key"), [("s", "tr", "s"), ("", "tr", "tr"), ("", "", "e")])
async def test_the_key_keeps_a_session_together(setup: Setup, session: str, trace: str, key: str) -> None:
    await setup.batch(request([event(session=session, trace_id=trace, event_id="e")]))
    assert setup.producer.records[0].key == key


async def test_batches_larger_than_a_chunk_keep_order_and_indexes(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_EVENTS", 7)
    monkeypatch.setattr(module, "_SLICE_ELSEWHERE_BYTES", 10)
    values = [event(event_id=f"e{i}").SerializeToString() for i in range(30)]
    values[11] = b"\x0a\x01\xff"
    values[29] = b""
    outcome = await setup.batch(frame_batch(values))
    assert (outcome.accepted_count, outcome.rejected_event_ids) == (28, ["#11", "#29"])
    expected = [f"e{i}" for i in range(30) if i not in (11, 29)]
    assert [record.headers["event_id"] for record in setup.producer.records] == expected
    assert [record.value for record in setup.producer.records] == [v for i, v in enumerate(values) if i not in (11, 29)]


async def test_a_field_of_the_batch_itself_that_does_not_parse_refuses_the_call(setup: Setup) -> None:
    broken = b"\x0a\x03\x0a\x01\xff"
    with pytest.raises(InvalidInput, match="batch itself"):
        await setup.batch(broken + request([event()], ""))
    assert not setup.producer.records


async def test_nothing_is_sent_of_a_batch_that_breaks_off(setup: Setup) -> None:
    with pytest.raises(InvalidInput, match="truncated"):
        await setup.batch(request([event()]) + b"\x0a\x05abc")
    assert not setup.producer.records


async def test_too_many_events_are_not_looked_at(setup: Setup) -> None:
    with pytest.raises(TooManyEvents):
        await setup.batch(request([event()] * 4), 3)
    with pytest.raises(TooManyEvents):
        await setup.ingest.batch_from_json(setup.call(), {"events": [{}] * 4}, 3)
    assert not setup.producer.records


async def test_reasons_are_bounded_and_ids_are_not(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REASONS", 3)
    outcome = await setup.batch(frame_batch([b""] * 10))
    assert (len(outcome.rejections), len(outcome.rejected_event_ids), outcome.rejected_count) == (3, 10, 10)
    counted = setup.metrics.registry.get_sample_value(
        "gateway_events_rejected_total", {"door": "grpc", "field": "event_id"}
    )
    assert counted == 10


async def test_a_very_long_id_is_not_echoed(setup: Setup) -> None:
    outcome = await setup.batch(request([event(event_id="x" * 1024), event(event_id="x" * 1025)]))
    assert outcome.rejected_event_ids == ["x" * 1024, "#1"]


async def test_a_failed_delivery_fails_the_call_not_the_event(setup: Setup) -> None:
    setup.producer.auto = False

    def produce(*args: Any, **options: Any) -> None:
        FakeProducer.produce(setup.producer, *args, **options)
        setup.producer.report(setup.producer.records[-1], KafkaProblem("_MSG_TIMED_OUT"))

    setup.producer.produce = produce  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await setup.batch(request([event(), pb.Event()]))
    with pytest.raises(Unavailable):
        await setup.ingest.event_from_json(setup.call(), event_to_json(event()))
    assert setup.metrics.registry.get_sample_value("gateway_events_accepted_total", {"door": "grpc"}) is None


async def test_a_single_event_of_several_parts_is_their_merge(setup: Setup) -> None:
    first = IngestEventRequest(event=event(event_id="one", agent_id="a")).SerializeToString()
    second = IngestEventRequest(event=pb.Event(event_id="two")).SerializeToString()
    accepted = await setup.ingest.event_from_wire(setup.call(), first + second)
    assert (accepted.event_id, accepted.processed_at) == ("two", NOW_NS // 1_000_000)
    (record,) = setup.producer.records
    assert pb.Event.FromString(record.value) == IngestEventRequest.FromString(first + second).event
    assert "batch_id" not in record.headers


async def test_a_request_without_an_event_names_what_is_missing(setup: Setup) -> None:
    with pytest.raises(InvalidInput) as refused:
        await setup.ingest.event_from_wire(setup.call(), b"")
    assert [found.field for found in refused.value.violations] == ["event.event_id", "event.tenant_id", "event.type"]


async def test_projects_bound_what_a_key_may_send(setup: Setup) -> None:
    mine = identity(projects=frozenset({"p"}))
    outcome = await setup.batch(
        request([event(project="p", event_id="1"), event(project="", event_id="2"), event(project="q", event_id="3")]),
        identity=mine,
    )
    assert outcome.rejected_event_ids == ["2", "3"]
    for foreign in (event(project="q"), event(tenant="u", project="p")):
        with pytest.raises(PermissionDenied):
            await setup.ingest.event_from_json(setup.call(identity=mine), event_to_json(foreign))


async def test_json_that_is_no_event_costs_only_itself(setup: Setup) -> None:
    events: list[Any] = [event_to_json(event(event_id="1")), 5, {"event_id": "3", "x": 1}, {"event_id": "\ud800"}, None]
    outcome = await setup.ingest.batch_from_json(setup.call(), {"events": events, "metadata": {"a": 1}}, 10)
    assert outcome.accepted_count == 1
    assert outcome.batch_id
    assert outcome.rejected_event_ids == ["#1", "3", "#3", "#4"]
    assert [rejection.violations[0].field for rejection in outcome.rejections] == ["", "x", "event_id", ""]


@pytest.mark.parametrize("document", [None, [], "x", {}, {"events": {}}, {"event_batch": []}, {"events": [], "x": 1}])
async def test_json_that_is_no_batch_is_refused(setup: Setup, document: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        await setup.ingest.batch_from_json(setup.call(), document, 10)
    assert refused.value.violations[0].field.startswith("event_batch")


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", False),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n", False),
        ("00", False),
        (None, False),
    ],
)
def test_a_traceparent_is_taken_only_when_well_formed(value: str | None, good: bool) -> None:
    assert well_formed_traceparent(value) == (value if good else None)
