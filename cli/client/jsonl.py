"""Reading JSONL files of events: line by line, with bounded memory, one bad line never stopping the next.

The lines are what the SDK's file mode writes (``MessageToDict(event, preserving_proto_field_name=True)`` with a
zone-less UTC ``timestamp``) or the openapi's JSON; :func:`contracts.spec_json.event_from_json` reads both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from chaukas.spec.common.v1 import events_pb2

from contracts.errors import InvalidInput
from contracts.spec_json import event_from_json
from contracts.topics import MAX_EVENT_BYTES, MIB

#: A longer line cannot be a legal event: JSON takes at most a few times the bytes of protobuf. Bytes.
MAX_LINE_BYTES = 16 * MIB
#: What one request carries at most: below the gateway's 1,000 events and 4 MiB.
MAX_BATCH_EVENTS = 1000
MAX_BATCH_BYTES = 3_670_016
#: Tag and length of an event inside a batch, bytes.
_FRAME_BYTES = 6

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file: an event, or why it is none. `end_bytes` counts from the start of the file."""

    number: int
    end_bytes: int
    event: events_pb2.Event | None
    problem: str = ""


@dataclass(slots=True)
class Batch:
    """Consecutive events and the bad lines among them; `end_bytes` is where the file has been read to."""

    lines: list[Line] = field(default_factory=list)
    bad: list[Line] = field(default_factory=list)
    end_bytes: int = 0

    @property
    def events(self) -> list[events_pb2.Event]:
        return [line.event for line in self.lines if line.event is not None]


def read_lines(source: BinaryIO, number: int = 0, end: int = 0) -> Iterator[Line]:
    """Every line that is not blank. Blocks as `source` does; raises its ``OSError``.

    `number`, `end`: lines and bytes of the file before where `source` stands.
    """
    while raw := source.readline(MAX_LINE_BYTES + 1):
        number += 1
        end += len(raw)
        if len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
            while (rest := source.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                end += len(rest)
            end += len(rest)
            yield Line(number, end, None, f"the line is longer than {MAX_LINE_BYTES // MIB} MiB")
            continue
        text = raw.removeprefix(_BOM) if number == 1 else raw
        if text.strip():
            yield _line(number, end, text)


def _line(number: int, end: int, text: bytes) -> Line:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = f"column {error.colno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else str(error)
        return Line(number, end, None, f"not JSON: {reason}")
    if not isinstance(parsed, dict):
        return Line(number, end, None, "not a JSON object")
    try:
        event = event_from_json(parsed)
    except InvalidInput as error:
        return Line(number, end, None, str(error))
    if event.ByteSize() > MAX_EVENT_BYTES:
        return Line(
            number, end, None, f"the event has {event.ByteSize():,} bytes; at most {MAX_EVENT_BYTES:,} are allowed"
        )
    return Line(number, end, event)


def batches(
    lines: Iterable[Line], *, max_events: int = MAX_BATCH_EVENTS, max_bytes: int = MAX_BATCH_BYTES
) -> Iterator[Batch]:
    """Gather lines, in order, into requests within both limits; bad lines ride along with their neighbours."""
    batch, size = Batch(), 0
    for line in lines:
        added = line.event.ByteSize() + _FRAME_BYTES if line.event is not None else 0
        # Bad lines count as well: a file of nothing else must not be gathered whole.
        if len(batch.lines) + len(batch.bad) >= max_events or (batch.lines and size + added > max_bytes):
            yield batch
            batch, size = Batch(), 0
        (batch.bad if line.event is None else batch.lines).append(line)
        batch.end_bytes = line.end_bytes
        size += added
    if batch.lines or batch.bad:
        yield batch
