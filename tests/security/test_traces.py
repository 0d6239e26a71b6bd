"""A call can be followed through the running system, and an operator can have it say more without a restart."""

from __future__ import annotations

import signal
import uuid

import httpx
from chaukas.spec.server.v1 import server_pb2

from contracts.spec_json import event_to_json
from tests.support.events import event
from tests.support.otlp import Collector, Received
from tests.support.stack import Client, Stack
from tests.support.waiting import wait_for

SERVICE = "chaukas.spec.server.v1.ChaukasServerService"
#: What a trace of a call has at the least: span, its kind, who made it.
STEPS = {
    ("send chaukas.events.raw", "PRODUCER", "chaukas-gateway"),
    ("process chaukas.events.raw", "CONSUMER", "chaukas-processors"),
    ("INSERT events", "CLIENT", "chaukas-sink"),
}
QUERY = {
    (f"{SERVICE}/QueryEvents", "SERVER", "chaukas-gateway"),
    (f"{SERVICE}/QueryEvents", "CLIENT", "chaukas-gateway"),
    ("QueryEvents", "SERVER", "chaukas-sink"),
}


class Caller:
    """A span of somebody else's."""

    def __init__(self, flags: str = "01") -> None:
        self.trace_id, self.span_id = uuid.uuid4().hex, uuid.uuid4().hex[:16]
        self.traceparent = f"00-{self.trace_id}-{self.span_id}-{flags}"

    def wait_for(self, collector: Collector, steps: set[tuple[str, str, str]]) -> dict[str, Received]:
        """The spans of its trace by kind, once there is one of each step."""

        def there() -> list[Received] | None:
            found = collector.of_trace(self.trace_id)
            return found if steps <= {(one.span.name, one.kind, one.service) for one in found} else None

        return {f"{one.service.removeprefix('chaukas-')} {one.kind}": one for one in wait_for("its spans", there)}


def test_a_call_is_followed_from_its_caller_to_its_row(loud_stack: Stack, collector: Collector) -> None:
    stack, client = loud_stack, Client(loud_stack)
    silent, batch, single, query = Caller("00"), Caller(), Caller(), Caller()
    tenant, project = stack.endpoints.tenant_id, stack.endpoints.project_id
    ids = [uuid.uuid4().hex for _ in range(5)]
    events = [event(event_id=one, session=f"traced-{one}", tenant=tenant, project=project) for one in ids]
    try:
        for caller, sent in ((silent, events[:1]), (batch, events[1:4])):
            request = server_pb2.IngestEventBatchRequest()
            request.event_batch.events.extend(sent)
            request.event_batch.events.add(event_id="refused", tenant_id="somebody-else")
            client.stub.IngestEventBatch(request, metadata=(*client.metadata, ("traceparent", caller.traceparent)))
        httpx.post(
            f"{stack.endpoints.http_url}/v1/events",
            json=event_to_json(events[4]),
            headers={"authorization": f"Bearer {stack.endpoints.api_key}", "traceparent": single.traceparent},
        ).raise_for_status()
        client.wait_stored(set(ids), project_id=project)
        client.stub.QueryEvents(
            server_pb2.QueryEventsRequest(), metadata=(*client.metadata, ("traceparent", query.traceparent))
        )
    finally:
        client.close()

    found = batch.wait_for(collector, STEPS | {(f"{SERVICE}/IngestEventBatch", "SERVER", "chaukas-gateway")})
    call, sending = found["gateway SERVER"], found["gateway PRODUCER"]
    assert call.span.parent_span_id.hex() == batch.span_id
    assert call.attributes["chaukas.events.accepted"] == 3
    assert call.attributes["chaukas.events.rejected"] == 1
    assert call.attributes["chaukas.tenant_id"] == tenant
    assert sending.span.parent_span_id == call.span.span_id
    assert sending.attributes["messaging.batch.message_count"] == 3
    for downstream in ("processors CONSUMER", "sink CLIENT"):  # what the records carried was the sending
        assert found[downstream].span.parent_span_id == sending.span.span_id, downstream
    assert found["processors CONSUMER"].span.start_time_unix_nano >= sending.span.start_time_unix_nano

    found = single.wait_for(collector, STEPS | {("POST /events", "SERVER", "chaukas-gateway")})
    assert found["gateway SERVER"].attributes["chaukas.event_id"] == ids[4]
    assert found["gateway SERVER"].attributes["http.response.status_code"] == 202

    found = query.wait_for(collector, QUERY)
    assert found["sink SERVER"].span.parent_span_id == found["gateway CLIENT"].span.span_id
    assert found["gateway CLIENT"].span.parent_span_id == found["gateway SERVER"].span.span_id
    # Its caller does not record it, so neither do we.
    assert collector.of_trace(silent.trace_id) == []


def test_level_and_format_change_by_signal(loud_stack: Stack) -> None:
    """Every process, there and back: the stack logs JSON at DEBUG."""
    before = {process: loud_stack.pids(process) for process in ("gateway", "processors", "sink")}
    for switch, lines in (
        (signal.SIGUSR1, ('"now": "info"', '"now": "debug"')),
        (signal.SIGUSR2, ("now=console", '"now": "json"')),
    ):
        for line in lines:
            for process, pids in before.items():
                logs = {name: loud_stack.directory / "logs" / f"{name}.log" for name in pids}
                known = {name: path.stat().st_size for name, path in logs.items()}
                loud_stack.signal(process, switch)

                def said(known: dict[str, int] = known, line: str = line) -> bool:
                    for name, size in known.items():
                        text = (loud_stack.directory / "logs" / f"{name}.log").read_bytes()[size:].decode()
                        if not any("_changed" in one and line in one for one in text.splitlines()):
                            return False
                    return True

                wait_for(f"{process} to say {line}", said, every=0.05)
    assert {process: loud_stack.pids(process) for process in before} == before
