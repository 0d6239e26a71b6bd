"""What an event must be to be accepted: the rules, and errors that name the field.

Required are ``event_id``, ``tenant_id`` and a type that is not UNSPECIFIED. Every singular field named ``…_id`` (nested ones
and ``tool_call.id`` too) holds at most 256 bytes and no control characters. ``timestamp`` lies in the years 0001 to 9999.
Everything else is the client's business: unknown enum numbers and unknown fields are kept, a missing timestamp or session
is fine.

:func:`event_problems` decides good events with few calls into protobuf (it is on the hot path, for every event) and looks at
each rule only for an event that fails this first look.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import cast

from chaukas.spec.common.v1.events_pb2 import EVENT_TYPE_UNSPECIFIED, Event, EventBatch, EventType
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.errors import FieldViolation
from contracts.topics import MAX_EVENT_BYTES

MAX_ID_BYTES = 256
#: 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z: protobuf's own limits of a Timestamp.
MIN_TIMESTAMP_SECONDS = -62_135_596_800
MAX_TIMESTAMP_SECONDS = 253_402_300_799

REQUIRED = "is required"
#: Unicode's control characters: C0, DEL and C1.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_ASCII_CONTROL = bytes((*range(0x20), 0x7F))


class Fields:
    """Positions in the tuple of :func:`identifiers`."""

    EVENT_ID, TENANT_ID, PROJECT_ID, SESSION_ID, TRACE_ID = range(5)


def _id_paths(descriptor: Descriptor, prefix: str = "") -> Iterator[str]:
    for field in descriptor.fields:
        message = field.message_type
        if message is not None:
            if message.file.package == descriptor.file.package and not field.is_repeated:
                yield from _id_paths(message, f"{prefix}{field.name}.")
        elif (
            field.type == FieldDescriptor.TYPE_STRING
            and not field.is_repeated
            and (field.name.endswith("_id") or prefix + field.name == "tool_call.id")
        ):
            yield prefix + field.name


ID_PATHS = tuple(_id_paths(Event.DESCRIPTOR))
_FIRST = ("event_id", "tenant_id", "project_id", "session_id", "trace_id")
_TOP = (*_FIRST, *(path for path in ID_PATHS if "." not in path and path not in _FIRST))
_CONTENT = {field.name for field in Event.DESCRIPTOR.oneofs_by_name["content"].fields}
#: The ids inside each kind of content that has some. (`redaction` and `infrastructure`, which are rare, have some too.)
_NESTED_CONTENT: dict[str | None, Callable[[Event], tuple[str, ...]]] = {
    # The event's own id stands before them: attrgetter gives a tuple for two names or more.
    parent: cast(
        Callable[[Event], tuple[str, ...]],
        attrgetter("event_id", *(path for path in ID_PATHS if path.startswith(f"{parent}."))),
    )
    for parent in sorted(_CONTENT & {path.partition(".")[0] for path in ID_PATHS if "." in path})
}

#: All ids at the top of an event, in one call; the first five in the order of :class:`Fields`.
identifiers = cast(Callable[[Event], tuple[str, ...]], attrgetter(*_TOP))


class _TypeNames(dict[int, str]):
    def __missing__(self, number: int) -> str:
        return f"EVENT_TYPE_{number}"


#: Name of an event type; ``EVENT_TYPE_<number>`` for one this version of the spec does not know. Not a function of ours: it
#: is called for every event.
type_name: Callable[[int], str] = _TypeNames({number: name for name, number in EventType.items()}).__getitem__


@dataclass(frozen=True, slots=True)
class Limits:
    """The sizes a front door accepts, bytes."""

    event_max_bytes: int = MAX_EVENT_BYTES


def ids_are_plain(all_ids: Iterable[tuple[str, ...]]) -> bool:
    """All of them are short and ASCII without control characters: one look at many events costs half of one at each.

    False says nothing: those of one event are long together, some other character is in one, or one is bad.
    """
    events = list(map("".join, all_ids))
    joined = "".join(events)
    return (
        joined.isascii()
        and max(map(len, events), default=0) <= MAX_ID_BYTES  # the sum of an event's lengths is more than each
        and len(joined.encode().translate(None, _ASCII_CONTROL)) == len(joined)
    )


def event_problems(
    event: Event, ids: tuple[str, ...], size: int, limits: Limits, plain: bool = False
) -> Sequence[FieldViolation]:
    """The broken rules of one event; empty when it is good.

    `ids` is ``identifiers(event)`` (callers need it anyway), `size` the length of the event's own bytes, `plain` what
    :func:`ids_are_plain` said of ids with these among them. Field names are relative to the event; ``""`` is the event itself.
    """
    timestamp = event.timestamp  # an absent one reads as 1970
    nested = _NESTED_CONTENT.get(event.WhichOneof("content"))
    if (
        ids[0]  # Fields.EVENT_ID and TENANT_ID, without looking them up
        and ids[1]
        and event.type != EVENT_TYPE_UNSPECIFIED
        and size <= limits.event_max_bytes
        and (plain or _are_plain(ids))
        and MIN_TIMESTAMP_SECONDS <= timestamp.seconds <= MAX_TIMESTAMP_SECONDS
        and 0 <= timestamp.nanos <= 999_999_999
        and (nested is None or _are_plain(nested(event)))
        and not event.HasField("redaction")
        and not event.HasField("infrastructure")
    ):
        return ()
    return tuple(_look_closely(event, size, limits))  # empty for a good event that failed the first look


def batch_problems(batch: EventBatch) -> Sequence[FieldViolation]:
    """The broken rules of a batch's own fields (they are checked, not stored), named relative to the batch."""
    found = []
    problem = id_problem(batch.batch_id)
    if problem:
        found.append(FieldViolation("batch_id", problem))
    if batch.HasField("timestamp") and not _in_range(batch.timestamp):
        found.append(FieldViolation("timestamp", _timestamp_problem(batch.timestamp)))
    return found


def id_problem(value: str) -> str:
    """What is wrong with an id; empty when nothing is. An empty id is fine: whether it is required is another rule."""
    if len(value) > MAX_ID_BYTES or len(value.encode()) > MAX_ID_BYTES:
        return f"is longer than {MAX_ID_BYTES} bytes"
    if _CONTROL.search(value):
        return "contains a control character"
    return ""


def _are_plain(ids: tuple[str, ...]) -> bool:
    joined = "".join(ids)
    # isprintable() is stricter than the rule (it refuses a no-break space), and the sum of lengths is more than each.
    return (
        joined.isascii()
        and joined.isprintable()
        and (len(joined) <= MAX_ID_BYTES or max(map(len, ids)) <= MAX_ID_BYTES)
    )


def _in_range(timestamp: Timestamp) -> bool:
    return MIN_TIMESTAMP_SECONDS <= timestamp.seconds <= MAX_TIMESTAMP_SECONDS and 0 <= timestamp.nanos <= 999_999_999


def _timestamp_problem(timestamp: Timestamp) -> str:
    if not 0 <= timestamp.nanos <= 999_999_999:
        return "nanos must be between 0 and 999999999"
    return "must be between 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999999Z"


def _look_closely(event: Event, size: int, limits: Limits) -> Iterator[FieldViolation]:
    if size > limits.event_max_bytes:
        yield FieldViolation("", f"is {size} bytes; the limit is {limits.event_max_bytes} bytes")
    for name in ("event_id", "tenant_id"):
        if not getattr(event, name):
            yield FieldViolation(name, REQUIRED)
    if event.type == EVENT_TYPE_UNSPECIFIED:
        yield FieldViolation("type", REQUIRED)
    for path in ID_PATHS:
        problem = id_problem(attrgetter(path)(event))
        if problem:
            yield FieldViolation(path, problem)
    if event.HasField("timestamp") and not _in_range(event.timestamp):
        yield FieldViolation("timestamp", _timestamp_problem(event.timestamp))
