"""What both doors do with events: cut out, check, hand to Kafka, report. No gRPC and no HTTP in here.

The order for every call is: slice the request's framing, parse, check each event, produce the good ones in order, wait until
Kafka confirmed *all* of them, answer. A bad event is an entry in the answer; a failed delivery fails the whole call.
"""

from __future__ import annotations

import asyncio
import functools
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from chaukas.spec.common.v1.events_pb2 import Event, EventBatch
from chaukas.spec.server.v1.server_pb2 import IngestEventBatchRequest
from google.protobuf.message import DecodeError

from contracts.errors import FieldViolation, InvalidInput, PermissionDenied
from contracts.identity import Identity
from contracts.spec_json import event_from_json, message_from_json
from contracts.validation import Limits, batch_problems, event_problems, identifiers, ids_are_plain
from contracts.wire import SlicedBatch, TooManyEvents, WireError, parse_events, slice_batch, slice_single
from gateway.admission import Admission, Lease
from gateway.call import Call
from gateway.metrics import GatewayMetrics
from gateway.publisher import Delivery, Publisher, Record
from gateway.records import call_headers, event_record
from runtime.logs import get_logger

if TYPE_CHECKING:
    from runtime.spans import CallSpan

#: Events handled before the loop serves others.
CHUNK_EVENTS = 1000
_JSON_CHUNK_EVENTS = 100
#: Requests above this are sliced on a thread, so that the loop goes on, bytes.
_SLICE_ELSEWHERE_BYTES = 1024 * 1024
#: Reasons kept per call; every rejected id is listed all the same.
MAX_REASONS = 1000
#: A longer id of a rejected event is answered as its index: ids are 256 bytes at most.
_ECHO_CHARS = 1024
#: Of the ids of rejected events, in a line of the log: how many, and how long.
_LOGGED_IDS, _LOGGED_CHARS = 10, 256

log = get_logger(__name__)

UNPARSEABLE = "does not parse (invalid UTF-8, wrong framing or nesting beyond protobuf's limit)"
OTHER_TENANT = "is not the API key's tenant"
OTHER_PROJECT = "is not one of the API key's projects"


class Accepted(NamedTuple):
    event_id: str
    #: Unix milliseconds.
    processed_at: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an event of a batch was not accepted. Fields are relative to the event."""

    index: int
    event_id: str
    violations: Sequence[FieldViolation]


@dataclass(slots=True)
class BatchOutcome:
    """The fate of every event of a batch; accepted ones are confirmed by Kafka."""

    batch_id: str
    accepted_count: int = 0
    #: All of them, in order; ``#<index>`` for an event without a usable id.
    rejected_event_ids: list[str] = field(default_factory=list)
    #: The reasons of the first :data:`MAX_REASONS`.
    rejections: list[Rejection] = field(default_factory=list)

    @property
    def rejected_count(self) -> int:
        return len(self.rejected_event_ids)

    def reject(self, index: int, event_id: str, violations: Sequence[FieldViolation]) -> None:
        shown = event_id if event_id and len(event_id) <= _ECHO_CHARS else f"#{index}"
        self.rejected_event_ids.append(shown)
        if len(self.rejections) < MAX_REASONS:
            self.rejections.append(Rejection(index, shown, violations))


class Ingest:
    """Accepts events. Methods raise the classes of :mod:`contracts.errors`."""

    def __init__(
        self,
        publisher: Publisher,
        limits: Limits,
        metrics: GatewayMetrics,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._publisher = publisher
        self._limits = limits
        self._metrics = metrics
        self._accepted = functools.cache(metrics.accepted.labels)
        self._clock_ns = clock_ns

    def check(self, admission: Admission, lease: Lease) -> None:
        """Before a request is read: raises Unavailable while Kafka falls behind.

        Not while little is held: then some partition is away, and calls for the others go on. Nor for a tenant that holds little
        while others fill the room: it is they who have to stop.
        """
        if admission.filling and not lease.holds_little:
            self._publisher.check()

    async def event_from_wire(self, call: Call, body: bytes) -> Accepted:
        """One ``IngestEventRequest``."""
        try:
            value = slice_single(body)
        except WireError:
            raise InvalidInput.of("", "the bytes are not an IngestEventRequest") from None
        (event,) = parse_events((value,))
        return await self._single(call, value, event)

    async def event_from_json(self, call: Call, document: Any) -> Accepted:
        """One event, bare or as ``{"event": …}``; serialized once, here."""
        if isinstance(document, dict) and set(document) == {"event"}:
            document = document["event"]
        event = event_from_json(document)
        return await self._single(call, event.SerializeToString(), event)

    async def batch_from_wire(self, call: Call, body: bytes, max_events: int) -> BatchOutcome:
        """One ``IngestEventBatchRequest``. Raises TooManyEvents beside the errors."""
        work = await self._offer_wire(call, body, max_events)
        del body  # and the parsed events with the frame: they are not held while Kafka is waited for
        return await self._confirm(call, work)

    async def _offer_wire(self, call: Call, body: bytes, max_events: int) -> _Work:
        try:
            if len(body) > _SLICE_ELSEWHERE_BYTES:
                sliced = await asyncio.to_thread(slice_batch, body, max_events)
            else:
                sliced = slice_batch(body, max_events)
            call.charge.events(len(sliced))
            shell, events = _parse_at_once(body, sliced)
        except WireError as error:
            raise InvalidInput.of("", f"the bytes are not an IngestEventBatchRequest: {error}") from None
        work = self._begin(call, shell)
        try:
            for start in range(0, len(sliced), CHUNK_EVENTS):
                if start:
                    await asyncio.sleep(0)
                values = sliced.slices(start, start + CHUNK_EVENTS)
                work.offer(start, values, events if events is not None else parse_events(values))
        finally:
            self._publisher.finish(work.delivery)
        return work

    async def batch_from_json(self, call: Call, document: Any, max_events: int) -> BatchOutcome:
        """One ``EventBatch``, bare or as ``{"event_batch": …}``; an unreadable event costs only itself. Raises TooManyEvents too."""
        if isinstance(document, dict) and len(document) == 1:
            document = document.get("event_batch", document.get("eventBatch", document))
        if not isinstance(document, dict):
            raise InvalidInput.of("event_batch", "must be an object")
        documents = document.get("events")
        if not isinstance(documents, list):
            raise InvalidInput.of("event_batch.events", "must be a list")
        if len(documents) > max_events:
            raise TooManyEvents(max_events)
        call.charge.events(len(documents))
        own = {name: value for name, value in document.items() if name != "events"}
        work = self._begin(call, message_from_json(own, EventBatch, "event_batch"))
        try:
            for index, entry in enumerate(documents):
                if index % _JSON_CHUNK_EVENTS == _JSON_CHUNK_EVENTS - 1:
                    await asyncio.sleep(0)
                work.offer_json(index, entry)
        finally:
            self._publisher.finish(work.delivery)
        del document, documents, own  # not held while Kafka is waited for
        return await self._confirm(call, work)

    async def _single(self, call: Call, value: bytes, event: Event | None) -> Accepted:
        call.charge.events(1)
        if event is None:
            self._metrics.count_rejection(call.door, "")
            raise InvalidInput.of("event", UNPARSEABLE)
        ids = identifiers(event)
        problems = event_problems(event, ids, len(value), self._limits)
        if problems:
            self._metrics.count_rejection(call.door, problems[0].field)
            raise InvalidInput([FieldViolation(path("event", problem.field), problem.reason) for problem in problems])
        foreign = _foreign(ids, call.identity)
        if foreign is not None:
            self._metrics.count_rejection(call.door, foreign.field)
            raise PermissionDenied(f"event.{foreign}")
        received_at_ns = self._clock_ns()
        record = event_record(call_headers(call, self._publisher.topic, "", received_at_ns), value, event, ids)
        delivery = self._publisher.begin(call.lease)
        try:
            self._publisher.send(delivery, (record,), received_at_ns // 1_000_000)
        finally:
            self._publisher.finish(delivery)
        await self._publisher.confirm(delivery, call.seconds)
        self._accepted(call.door).inc()
        if call.span is not None:
            call.span.note({"chaukas.event_id": ids[0]})
            _sent(call.span, 1, 0)
        return Accepted(ids[0], self._clock_ns() // 1_000_000)

    def _begin(self, call: Call, shell: EventBatch) -> _Work:
        problems = batch_problems(shell)
        if problems:
            raise InvalidInput([FieldViolation(f"event_batch.{found.field}", found.reason) for found in problems])
        return _Work(self, call, BatchOutcome(shell.batch_id or str(uuid.uuid4())), self._clock_ns())

    async def _confirm(self, call: Call, work: _Work) -> BatchOutcome:
        await self._publisher.confirm(work.delivery, call.seconds)
        outcome, sent = work.outcome, work.delivery.sent
        outcome.accepted_count = sent
        self._accepted(call.door).inc(sent)
        if call.span is not None:
            call.span.note({"chaukas.batch_id": outcome.batch_id})
            _sent(call.span, sent, outcome.rejected_count)
        if outcome.rejected_count:
            log.debug(
                "events_rejected",
                tenant_id=call.identity.tenant_id,
                batch_id=outcome.batch_id,
                rejected=outcome.rejected_count,
                event_ids=[found[:_LOGGED_CHARS] for found in outcome.rejected_event_ids[:_LOGGED_IDS]],
            )
        return outcome


class _Work:
    """One call's events on their way to Kafka."""

    __slots__ = ("_headers", "_ingest", "_timestamp_ms", "call", "delivery", "outcome")

    def __init__(self, ingest: Ingest, call: Call, outcome: BatchOutcome, received_at_ns: int) -> None:
        self._ingest = ingest
        self._timestamp_ms = received_at_ns // 1_000_000
        self._headers = call_headers(call, ingest._publisher.topic, outcome.batch_id, received_at_ns)
        self.call = call
        self.outcome = outcome
        self.delivery: Delivery = ingest._publisher.begin(call.lease)

    def offer(self, first_index: int, values: Sequence[bytes], events: Sequence[Event | None]) -> None:
        """Send the good ones of these events, note the others. The hot path."""
        identity, limits, made = self.call.identity, self._ingest._limits, self._headers
        tenant, projects = identity.tenant_id, identity.projects
        records: list[Record] = []
        all_ids = [identifiers(event) if event is not None else () for event in events]
        plain = ids_are_plain(all_ids)
        for index, (value, event, ids) in enumerate(zip(values, events, all_ids, strict=True), first_index):
            if event is None:
                self._reject(index, "", (FieldViolation("", UNPARSEABLE),))
                continue
            problems = event_problems(event, ids, len(value), limits, plain)
            if problems:
                self._reject(index, ids[0], problems)
            elif ids[1] != tenant or (projects is not None and ids[2] not in projects):
                foreign = _foreign(ids, identity)
                assert foreign is not None
                self._reject(index, ids[0], (foreign,))
            else:
                records.append(event_record(made, value, event, ids))
        self.send(records)

    def offer_json(self, index: int, document: Any) -> None:
        try:
            event = event_from_json(document, "")
        except InvalidInput as error:
            event_id = document.get("event_id", document.get("eventId")) if isinstance(document, dict) else None
            self._reject(index, _printable(event_id), error.violations)
            return
        self.offer(index, (event.SerializeToString(),), (event,))

    def send(self, records: Sequence[Record]) -> None:
        self._ingest._publisher.send(self.delivery, records, self._timestamp_ms)

    def _reject(self, index: int, event_id: str, violations: Sequence[FieldViolation]) -> None:
        self._ingest._metrics.count_rejection(self.call.door, violations[0].field)
        self.outcome.reject(index, event_id, violations)


def _sent(span: CallSpan, accepted: int, rejected: int) -> None:
    span.done({"messaging.batch.message_count": accepted})
    span.note({"chaukas.events.accepted": accepted, "chaukas.events.rejected": rejected})


def path(parent: str, name: str) -> str:
    """`name` below `parent`; an empty name is the parent itself."""
    return f"{parent}.{name}" if name else parent


def _parse_at_once(body: bytes, sliced: SlicedBatch) -> tuple[EventBatch, Sequence[Event] | None]:
    """The batch's own fields, and its events when they are few and all of them parse. Raises WireError."""
    if len(sliced) <= CHUNK_EVENTS:
        try:
            batch = IngestEventBatchRequest.FromString(body).event_batch
        except DecodeError:
            pass  # one of its parts does not parse: find out which
        else:
            return batch, batch.events
    return sliced.shell(), None


def _foreign(ids: tuple[str, ...], identity: Identity) -> FieldViolation | None:
    if ids[1] != identity.tenant_id:
        return FieldViolation("tenant_id", OTHER_TENANT)
    if not identity.allows_project(ids[2]):
        return FieldViolation("project_id", OTHER_PROJECT)
    return None


def _printable(event_id: object) -> str:
    """An id of a JSON event that could not be read: shown when it is text that UTF-8 can carry."""
    if not isinstance(event_id, str):
        return ""
    try:
        event_id.encode()
    except UnicodeEncodeError:
        return ""
    return event_id
