"""From a good event to the Kafka record that carries it."""

from __future__ import annotations

from chaukas.spec.common.v1.events_pb2 import Event

from contracts import headers
from contracts.validation import type_name
from gateway.call import Call
from gateway.publisher import Headers, Record

_SCHEMA = headers.EVENT_SCHEMA.encode()


def call_headers(call: Call, topic: str, batch_id: str, received_at_ns: int) -> Headers:
    """Of every record of a call, in the order in which readers expect them; those of each event are filled in.

    Of a traced call the records continue its trace: their trace context is that of their way to `topic`, which begins here.
    """
    made: Headers = {
        headers.TENANT_ID: call.identity.tenant_id,
        headers.PROJECT_ID: "",
        headers.EVENT_ID: "",
        headers.EVENT_TYPE: "",
        headers.RECEIVED_AT_NS: b"%d" % received_at_ns,
        headers.SCHEMA: _SCHEMA,
    }
    if batch_id:
        made[headers.BATCH_ID] = batch_id
    traceparent = call.traceparent
    if call.span is not None:
        traceparent = call.span.begin(
            f"send {topic}",
            "PRODUCER",
            {
                "messaging.system": "kafka",
                "messaging.destination.name": topic,
                "messaging.operation.name": "send",
                "messaging.operation.type": "send",
            },
        )
    if traceparent is not None:
        made[headers.TRACEPARENT] = traceparent
    return made


def event_record(made: Headers, value: bytes, event: Event, ids: tuple[str, ...]) -> Record:
    """Of a good event of the caller's tenant; `made` are its call's headers."""
    own = made.copy()
    own[headers.PROJECT_ID] = ids[2]
    own[headers.EVENT_ID] = ids[0]
    own[headers.EVENT_TYPE] = type_name(event.type)
    return value, ids[3] or ids[4] or ids[0], own
