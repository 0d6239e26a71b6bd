"""From a batch of records to what has to be inserted and what has to be dead-lettered. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from contracts import dead_letters
from contracts.dead_letters import SourceRecord, Stage
from contracts.topics import Topics
from contracts.v1.dead_letter_pb2 import DeadLetter
from sink import facts
from sink.batch import Batch, TopicPartition
from sink.route import BadRecord, Enriched, enriched
from sink.rows import map_events


@dataclass(frozen=True, slots=True)
class TableRows:
    """Rows for one table, and the records behind them in the same order, for the dead letters of refused rows."""

    name: str
    rows: pa.Table
    sources: list[SourceRecord]

    def halves(self) -> tuple[TableRows, TableRows]:
        """Two parts that make the whole; only for two rows or more."""
        middle = len(self.sources) // 2
        return (
            TableRows(self.name, self.rows.slice(0, middle), self.sources[:middle]),
            TableRows(self.name, self.rows.slice(middle), self.sources[middle:]),
        )


@dataclass(slots=True)
class Prepared:
    """Everything one batch leads to."""

    tables: list[TableRows]
    letters: list[DeadLetter]
    next_offsets: Mapping[TopicPartition, int]
    records: int
    #: Earliest and latest time of receipt among the events, Unix nanoseconds; None without events.
    received_ns: tuple[int, int] | None = None


@dataclass(slots=True)
class _Facts:
    rows: list[facts.Row] = field(default_factory=list)
    sources: list[SourceRecord] = field(default_factory=list)


def letter(record: SourceRecord, error: BadRecord) -> DeadLetter:
    """The sink's dead letter for `record`."""
    return dead_letters.build(record, Stage.SINK, error.reason, str(error))


def prepare(batch: Batch, topics: Topics) -> Prepared:
    """Map every record of `batch`. Never raises for a bad record: it becomes a letter."""
    letters: list[DeadLetter] = []
    events: list[Enriched] = []
    others: dict[str, _Facts] = {name: _Facts() for name in facts.SCHEMAS}
    rows_of: Mapping[str, tuple[str, Callable[[SourceRecord], facts.Row]]] = {
        topics.handoffs: ("handoffs", facts.handoff_row),
        topics.mcp_calls: ("mcp_calls", facts.mcp_call_row),
        topics.dead_letters: ("dead_letters", lambda record: facts.dead_letter_row(record, topics.raw)),
    }
    for source in batch.records:
        try:
            if source.topic != topics.enriched:
                name, row_of = rows_of[source.topic]
                row = row_of(source)
            else:
                record = enriched(source)
                if record.is_resend:
                    name, row = "resends", facts.resend_row(record)
                elif record.is_conflict:
                    name, row = "conflicts", facts.conflict_row(record)
                else:
                    events.append(record)
                    continue
        except BadRecord as error:
            letters.append(letter(source, error))
            continue
        others[name].rows.append(row)
        others[name].sources.append(source)
    tables: list[TableRows] = []
    received: tuple[int, int] | None = None
    if events:
        mapped = map_events(events)
        letters += [letter(record.source, error) for record, error in mapped.bad]
        if mapped.rows:
            tables.append(TableRows("events", mapped.table, [record.source for record in mapped.rows]))
            times = [record.headers.received_at_ns for record in mapped.rows]
            received = (min(times), max(times))
    tables += _fact_tables(others)
    return Prepared(tables, letters, dict(batch.next_offsets), len(batch.records), received)


def _fact_tables(found: Mapping[str, _Facts]) -> Sequence[TableRows]:
    return [TableRows(name, facts.to_table(name, part.rows), part.sources) for name, part in found.items() if part.rows]
