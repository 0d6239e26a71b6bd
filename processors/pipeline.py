"""All steps in their order, for one partition: raw record in, records out. Pure: no I/O, no clock, no randomness."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

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

#: How many records take a step together, see :func:`process_all`. More gain nothing.
CHUNK = 32


class Output(NamedTuple):
    """What follows from one raw record: the enriched record and facts."""

    enriched: Enriched
    handoffs: list[facts_pb2.HandoffFact]
    mcp_calls: list[facts_pb2.McpCallFact]


_new_tuple = tuple.__new__  # a NamedTuple's own constructor costs twice as much


class PartitionState:
    """The window of one raw partition. Feed it every record of the partition, in order, exactly once."""

    def __init__(self, window: Window) -> None:
        self.window = window
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
    output = _finish(_derive(state, _next(state, record)))
    if isinstance(output, BadRecord):
        raise output
    return output


def process_all(state: PartitionState, records: Iterable[RawRecord]) -> Iterator[tuple[RawRecord, Output | BadRecord]]:
    """:func:`process` for each record, in order; a bad record is returned instead of raised.

    Some records at a time take the same step, then all of them the next: each step's code and tables stay in the processor's
    caches, which saves a sixth of all steps together. Reading and enriching touch no state, so nothing else changes.
    """
    source, derive = iter(records), partial(_derive, state)
    while chunk := list(islice(source, CHUNK)):
        _in_order(state, chunk)
        events: Sequence[Incoming | BadRecord]
        try:
            events = intake.read_all(chunk)
        except intake.BAD:
            events = [*map(_read, chunk)]
        yield from zip(chunk, [*map(_finish, [*map(derive, events)])], strict=True)


def _read(record: RawRecord) -> Incoming | BadRecord:
    try:
        return intake.read(record)
    except BadRecord as bad:
        return bad.with_traceback(None)  # it would hold this frame, and the frame it


def remember(state: PartitionState, record: RawRecord, *, ids_only: bool) -> None:
    """Take a record that was processed earlier into the window, without output. Raises :class:`BadRecord` as above.

    `ids_only`: only level 1, for the first half of what a rebuild reads, whose marks cannot be known.
    """
    event = _next(state, record)
    if not ids_only:
        derived = _derive(state, event)
        if isinstance(derived, BadRecord):
            raise derived
        return
    try:
        mark(state.ids, event)
    except Exception as error:
        raise _step_failed(error) from error


def _is_replay(record: RawRecord) -> bool:
    """Whether an operator sent it again after it was a dead letter: it is then no copy of the one that nobody stored, nor of a
    re-send that was marked as a copy of that one. Should it have been stored after all, it becomes the same row again."""
    return any(name == h.REPLAY_OF for name, _ in record.headers)


#: An event and what the steps with a state say about it: a plain tuple, one is made for every event.
_Derived = tuple[Incoming, Mark | None, Pairing | None, list[facts_pb2.HandoffFact], list[facts_pb2.McpCallFact]]


def _derive(state: PartitionState, event: Incoming | BadRecord) -> _Derived | BadRecord:
    """Levels 1 and 2. What is bad stays so."""
    if isinstance(event, BadRecord):
        return event
    try:
        marked = mark(state.ids, event)
        if marked is not None and not _is_replay(event.record):
            return event, marked, None, [], []
        kind = event.type
        pairing = pair(state.spans, event) if kind in SPAN_TYPES else None
        handed_off = handoffs(state.handoffs, event)
        return event, None, pairing, handed_off, mcp_calls(state.mcp_calls, event) if kind in MCP_TYPES else []
    except Exception as error:  # noqa: BLE001 - the record is dead-lettered with it
        return _step_failed(error)


def _finish(derived: _Derived | BadRecord) -> Output | BadRecord:
    """Last and without a state, so that whatever fails here leaves the state as a rebuild would."""
    if isinstance(derived, BadRecord):
        return derived
    event, marked, pairing, handed_off, calls = derived
    try:
        return _new_tuple(Output, (enrich(event, marked, pairing), handed_off, calls))
    except Exception as error:  # noqa: BLE001 - the record is dead-lettered with it
        return _step_failed(error)


def _step_failed(error: Exception) -> BadRecord:
    """Where a step failed, without the error's text: that may hold content. Running out of memory is not the record's."""
    if isinstance(error, MemoryError):
        raise error
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return BadRecord(Reason.STEP_FAILED, f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}")


def _next(state: PartitionState, record: RawRecord) -> Incoming:
    _in_order(state, (record,))
    return intake.read(record)


def _in_order(state: PartitionState, records: Iterable[RawRecord]) -> None:
    following = state.next_offset
    for record in records:
        offset = record.offset
        if offset < following:
            raise AssertionError(f"offset {offset} after {following - 1}: a partition is read in order")
        following = offset + 1
    state.next_offset = following
