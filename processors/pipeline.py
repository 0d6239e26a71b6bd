"""All steps in their order, for one partition: raw record in, records out. Pure: no I/O, no clock, no randomness."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from contracts import headers as h
from contracts.dead_letters import Reason
from contracts.v1 import facts_pb2
from processors import intake
from processors.enrich import Enriched, enrich
from processors.handoffs import Handoffs, handoffs
from processors.intake import BadRecord, Incoming, RawRecord
from processors.mcp_calls import MCP_TYPES, McpCalls, mcp_calls
from processors.pair import Pairing, Spans, pair
from processors.statuses import SPAN_TYPES
from processors.window import Ids, Mark, Window, mark

S = TypeVar("S")
T = TypeVar("T")
#: Redacts an event that was read; returns it, or why it is bad.
Redact = Callable[[Incoming], Incoming | BadRecord]

#: How many records take a step together, see :func:`process_all`. More gain nothing.
CHUNK = 32


class Output(NamedTuple):
    """What follows from one raw record: the enriched record and facts."""

    enriched: Enriched
    handoffs: list[facts_pb2.HandoffFact]
    mcp_calls: list[facts_pb2.McpCallFact]


_new_tuple = tuple.__new__  # a NamedTuple's own constructor costs twice as much


class PartitionState:
    """The window of one raw partition. Feed it every record of the partition, in order, exactly once.

    `redact` (:mod:`processors.redact`) comes before every step; it has no state. None: nothing is redacted.
    """

    def __init__(self, window: Window, redact: Redact | None = None) -> None:
        self.window = window
        self.redact = redact
        self.ids = Ids(window)
        self.spans = Spans(window)
        self.handoffs = Handoffs(window)
        self.mcp_calls = McpCalls(window)
        #: Offset after the last record it was fed; -1 before the first.
        self.next_offset = -1

    def __len__(self) -> int:
        """Entries held: the state's size, for a metric."""
        calls = self.mcp_calls
        spans = len(self.spans.starts) + len(calls.starts) + len(calls.ends)
        return len(self.ids.copies) + spans + len(self.handoffs.pending)


def process(state: PartitionState, record: RawRecord) -> Output:
    """One record through all steps. Raises :class:`BadRecord`; what it changed then, a rebuild changes too."""
    ((_, output),) = process_all(state, [record])
    if isinstance(output, BadRecord):
        raise output
    return output


def process_all(state: PartitionState, records: Iterable[RawRecord]) -> Iterator[tuple[RawRecord, Output | BadRecord]]:
    """:func:`process` for each record, in order; a bad record is returned instead of raised.

    Some records at a time take the same step, then all of them the next: each step's code and tables stay in the processor's
    caches, which saves a sixth of all steps together. Reading and enriching touch no state, so nothing else changes.
    """
    source = iter(records)
    while chunk := list(islice(source, CHUNK)):
        events = _read(state, chunk)
        yield from zip(chunk, [*map(_finish, _derive(state, events, _mark(state, events)))], strict=True)


def remember_all(state: PartitionState, records: Sequence[RawRecord], *, ids_only: bool) -> list[BadRecord | None]:
    """Take records that were processed earlier into the window, without output; what is bad about each, in order.

    `ids_only`: only level 1, for the first half of what a rebuild reads, whose marks cannot be known.
    """
    events = _read(state, records)
    marks = _mark(state, events)
    if not ids_only:
        _derive(state, events, marks)
    return [marked if isinstance(marked, BadRecord) else None for marked in marks]


def _read(state: PartitionState, records: Sequence[RawRecord]) -> Sequence[Incoming | BadRecord]:
    following = state.next_offset
    for record in records:
        offset = record.offset
        if offset < following:
            raise AssertionError(f"offset {offset} after {following - 1}: a partition is read in order")
        following = offset + 1
    state.next_offset = following
    events: Sequence[Incoming | BadRecord]
    try:
        events = intake.read_all(records)
    except intake.BAD:
        events = [*map(_read_one, records)]
    redact = state.redact
    if redact is None:
        return events
    return [event if isinstance(event, BadRecord) else redact(event) for event in events]


def _read_one(record: RawRecord) -> Incoming | BadRecord:
    try:
        return intake.read(record)
    except BadRecord as bad:
        return bad.with_traceback(None)  # it would hold this frame, and the frame it


def _is_replay(record: RawRecord) -> bool:
    """Whether an operator sent it again after it was a dead letter: it is then no copy of the one that nobody stored, nor of a
    re-send that was marked as a copy of that one. Should it have been stored after all, it becomes the same row again."""
    return any(name == h.REPLAY_OF for name, _ in record.headers)


#: An event (or what makes it bad) and what the steps with a state say about it: a plain tuple, one is made for every event. In the mark's place
#: stands what makes a record bad.
_Derived = tuple[
    Any,
    Mark | BadRecord | None,
    Pairing | None,
    list[facts_pb2.HandoffFact] | None,
    list[facts_pb2.McpCallFact] | None,
]


def _mark(state: PartitionState, events: Sequence[Incoming | BadRecord]) -> list[Mark | BadRecord | None]:
    """Level 1. Also what is bad about an event; None for those that level 2 sees."""
    marks: list[Mark | BadRecord | None] = []
    for event in events:
        if isinstance(event, BadRecord):
            marks.append(event)
            continue
        try:
            marked = mark(state.ids, event)
            marks.append(None if marked is not None and _is_replay(event.record) else marked)
        except Exception as error:  # noqa: BLE001 - the record is dead-lettered with it; so below
            marks.append(_step_failed(error))
    return marks


def _derive(
    state: PartitionState, events: Sequence[Incoming | BadRecord], marks: list[Mark | BadRecord | None]
) -> Iterator[_Derived]:
    """Level 2."""
    pairings = _level_2(pair, state.spans, events, marks, SPAN_TYPES)
    handed_off = _level_2(handoffs, state.handoffs, events, marks)
    calls = _level_2(mcp_calls, state.mcp_calls, events, marks, MCP_TYPES)
    return zip(events, marks, pairings, handed_off, calls, strict=True)


def _level_2(
    step: Callable[[S, Incoming], T],
    state: S,
    events: Sequence[Any],
    marks: list[Mark | BadRecord | None],
    types: frozenset[int] | None = None,
) -> list[T | None]:
    """`step` of each unmarked event of these types. One that fails is bad, and goes no further."""
    found: list[T | None] = []
    for event, marked in zip(events, marks, strict=True):
        if marked is not None or (types is not None and event.type not in types):
            found.append(None)
            continue
        try:
            found.append(step(state, event))
        except Exception as error:  # noqa: BLE001
            marks[len(found)] = _step_failed(error)
            found.append(None)
    return found


def _finish(derived: _Derived) -> Output | BadRecord:
    """Last and without a state, so that whatever fails here leaves the state as a rebuild would."""
    event, marked, pairing, handed_off, calls = derived
    if isinstance(marked, BadRecord):
        return marked
    try:
        return _new_tuple(Output, (enrich(event, marked, pairing), handed_off or [], calls or []))
    except Exception as error:  # noqa: BLE001
        return _step_failed(error)


def _step_failed(error: Exception) -> BadRecord:
    """Where a step failed, without the error's text: that may hold content. Running out of memory is not the record's."""
    if isinstance(error, MemoryError):
        raise error
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return BadRecord(Reason.STEP_FAILED, f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}")
