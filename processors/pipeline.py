"""All steps in their order, for one partition: raw record in, records out. Pure: no I/O, no clock, no randomness."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.v1 import facts_pb2
from processors import intake
from processors.enrich import Enriched, enrich
from processors.handoffs import Handoffs, handoffs
from processors.intake import BadRecord, Incoming, RawRecord
from processors.mcp_calls import McpCalls, mcp_calls
from processors.pair import Spans, pair
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
    """One record through all steps. Raises :class:`BadRecord`, having changed nothing but the position."""
    event = _next(state, record)
    marked = mark(state.ids, event)
    if marked is not None:
        return Output(enrich(event, marked, None), [], [])
    return Output(
        enrich(event, None, pair(state.spans, event)),
        handoffs(state.handoffs, event),
        mcp_calls(state.mcp_calls, event),
    )


def remember(state: PartitionState, record: RawRecord, *, ids_only: bool) -> None:
    """Take a record that was processed earlier into the window, without output. Raises :class:`BadRecord` as above.

    `ids_only`: only level 1, for the first half of what a rebuild reads, whose marks cannot be known.
    """
    event = _next(state, record)
    marked = mark(state.ids, event)
    if not ids_only and marked is None:
        pair(state.spans, event)
        handoffs(state.handoffs, event)
        mcp_calls(state.mcp_calls, event)


def _next(state: PartitionState, record: RawRecord) -> Incoming:
    if record.offset < state.next_offset:
        raise AssertionError(f"offset {record.offset} after {state.next_offset - 1}: a partition is read in order")
    state.next_offset = record.offset + 1
    return intake.read(record)


__all__ = ["BadRecord", "Output", "PartitionState", "process", "remember"]
