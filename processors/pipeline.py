"""All steps in their order, for one partition: raw record in, records out. Pure: no I/O, no clock, no randomness."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path

from contracts.dead_letters import Reason
from contracts.v1 import facts_pb2
from processors import intake
from processors.enrich import Enriched, enrich
from processors.handoffs import Handoffs, handoffs
from processors.intake import BadRecord, Incoming, RawRecord
from processors.mcp_calls import McpCalls, mcp_calls
from processors.pair import Pairing, Spans, pair
from processors.window import Ids, Window, mark


@dataclass(slots=True)
class Output:
    """What follows from one raw record: the enriched record and facts."""

    enriched: Enriched
    handoffs: list[facts_pb2.HandoffFact]
    mcp_calls: list[facts_pb2.McpCallFact]


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
    event = _next(state, record)
    try:
        marked = mark(state.ids, event)
        if marked is not None:
            return Output(enrich(event, marked, None), [], [])
        pairing, handed_off, calls = _level_2(state, event)
        # Last, so that whatever fails in it leaves the state as a rebuild would.
        return Output(enrich(event, None, pairing), handed_off, calls)
    except Exception as error:
        raise _step_failed(error) from error


def remember(state: PartitionState, record: RawRecord, *, ids_only: bool) -> None:
    """Take a record that was processed earlier into the window, without output. Raises :class:`BadRecord` as above.

    `ids_only`: only level 1, for the first half of what a rebuild reads, whose marks cannot be known.
    """
    event = _next(state, record)
    try:
        marked = mark(state.ids, event)
        if not ids_only and marked is None:
            _level_2(state, event)
    except Exception as error:
        raise _step_failed(error) from error


def _level_2(
    state: PartitionState, event: Incoming
) -> tuple[Pairing | None, list[facts_pb2.HandoffFact], list[facts_pb2.McpCallFact]]:
    return pair(state.spans, event), handoffs(state.handoffs, event), mcp_calls(state.mcp_calls, event)


def _step_failed(error: Exception) -> BadRecord:
    """Where a step failed, without the error's text: that may hold content. Running out of memory is not the record's."""
    if isinstance(error, MemoryError):
        raise error
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return BadRecord(Reason.STEP_FAILED, f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}")


def _next(state: PartitionState, record: RawRecord) -> Incoming:
    if record.offset < state.next_offset:
        raise AssertionError(f"offset {record.offset} after {state.next_offset - 1}: a partition is read in order")
    state.next_offset = record.offset + 1
    return intake.read(record)
