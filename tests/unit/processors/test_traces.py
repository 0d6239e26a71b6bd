"""What the agent's spans and lines of the log say of a batch, and what they do not."""

from __future__ import annotations

from structlog.testing import capture_logs

from contracts.headers import TRACEPARENT
from processors.intake import RawRecord
from tests.support.events import event
from tests.support.raw_records import raw_record
from tests.support.spans import PARENT, SAMPLED, TRACE, UNSAMPLED, Spans, parent_of, trace_of
from tests.unit.processors.test_agent import Rig, calls


def traced(log: list[RawRecord], *traceparents: str) -> list[RawRecord]:
    for record, traceparent in zip(log, traceparents, strict=False):
        record.headers.append((TRACEPARENT, traceparent.encode()))
    return log


async def test_a_batch_is_a_span_in_the_trace_of_each_call() -> None:
    spans = Spans()
    log = traced(calls(4), SAMPLED, SAMPLED, UNSAMPLED)
    rig = Rig(log, tracing=spans.tracing)
    await rig.run(rig.batch(0, 8))
    (one,) = spans.ended
    assert (one.name, trace_of(one), parent_of(one)) == ("process raw", TRACE, PARENT)
    assert dict(one.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.destination.name": "raw",
        "messaging.destination.partition.id": "0",
        "messaging.consumer.group.name": "workers",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.batch.message_count": 2,
        "chaukas.batch.first_offset": 0,
        "chaukas.batch.next_offset": 8,
    }
    # What the client sent goes on as it came: a record that is processed again gives the same.
    assert rig.sent[0][2][TRACEPARENT] == SAMPLED.encode()
    plain = Rig(log)
    await plain.run(plain.batch(0, 8))
    assert plain.sent == rig.sent


async def test_a_batch_that_fails_says_how_and_not_about_what() -> None:
    spans = Spans()
    rig = Rig(traced(calls(1), SAMPLED), tracing=spans.tracing)
    rig.send_error = ValueError("the content")
    await rig.run(rig.batch(0, 2))
    (one,) = spans.ended
    assert one.status.description == "ValueError"
    assert "the content" not in one.to_json()


async def test_dead_letters_and_conflicts_are_logged_by_event_id() -> None:
    log = [
        raw_record(event(event_id="twice", agent_name="one content"), 0),
        raw_record(event(event_id="twice", agent_name="another content"), 1),
        raw_record(event(event_id="broken"), 2, value=b"\xff the content"),
    ]
    rig = Rig(log)
    with capture_logs() as lines:
        await rig.run(rig.batch(0, 3))
    found = {line["event"]: line for line in lines}
    letters, conflicts = found["dead letters"], found["conflicting copies"]
    assert (letters["first_event_id"], letters["first_offset"], letters["log_level"]) == ("broken", 2, "warning")
    assert (conflicts["first_event_id"], conflicts["first_offset"], conflicts["log_level"]) == ("twice", 1, "debug")
    assert "content" not in str(lines)
