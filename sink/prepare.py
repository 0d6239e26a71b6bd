"""From a batch of records to what has to be inserted and what has to be dead-lettered. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from contracts import dead_letters
from contracts.dead_letters import SourceRecord, Stage
from contracts.topics import Topics
from contracts.v1.dead_letter_pb2 import DeadLetter
from sink import facts
from sink.batch import Batch, TopicPartition
from sink.route import BadRecord
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
    #: All records of the batch, in its order.
    sources: Sequence[SourceRecord] = ()


@dataclass(slots=True)
class _Facts:
    rows: list[facts.Row] = field(default_factory=list)
    sources: list[SourceRecord] = field(default_factory=list)


def letter(record: SourceRecord, error: BadRecord, *, withhold: bool = False) -> DeadLetter:
    """The sink's dead letter for `record`; `withhold`: without its value."""
    return dead_letters.build(record, Stage.SINK, error.reason, str(error), withhold=withhold)


def prepare(batch: Batch, topics: Topics) -> Prepared:
    """Map every record of `batch`. Never raises for a bad record: it becomes a letter."""
    letters: list[DeadLetter] = []
    others: dict[str, _Facts] = {name: _Facts() for name in facts.SCHEMAS}
    rows_of: Mapping[str, tuple[str, Callable[[SourceRecord], facts.Row]]] = {
        topics.handoffs: ("handoffs", facts.handoff_row),
        topics.mcp_calls: ("mcp_calls", facts.mcp_call_row),
        topics.dead_letters: ("dead_letters", lambda record: facts.dead_letter_row(record, topics.raw)),
    }

    def add(table: str, source: SourceRecord, row_of: Callable[[], facts.Row]) -> None:
        try:
            row = row_of()
        except BadRecord as error:
            letters.append(letter(source, error))
        else:
            others[table].rows.append(row)
            others[table].sources.append(source)

    enriched = topics.enriched
    events = [record for record in batch.records if record.topic == enriched]
    if len(events) < len(batch.records):
        for source in batch.records:
            if source.topic != enriched:
                table, row_of = rows_of[source.topic]
                add(table, source, partial(row_of, source))
    mapped = map_events(events)
    letters += [letter(source, error) for source, error in mapped.bad]
    for record in mapped.marked:
        if record.is_resend:
            add("resends", record.source, partial(facts.resend_row, record))
        else:
            add("conflicts", record.source, partial(facts.conflict_row, record))
    tables: list[TableRows] = []
    received: tuple[int, int] | None = None
    if mapped.rows:
        tables.append(TableRows("events", mapped.table, mapped.rows))
        times = pc.min_max(mapped.table.column("received_at").cast(pa.int64()))
        received = (times["min"].as_py(), times["max"].as_py())
    tables += _fact_tables(others)
    return Prepared(tables, letters, dict(batch.next_offsets), len(batch.records), received, batch.records)


def join(parts: Sequence[Prepared], batch: Batch) -> Prepared:
    """What :func:`prepare` makes of `batch`, from what it made of its records part by part, in their order."""
    if len(parts) == 1:
        (whole,) = parts
        return replace(whole, next_offsets=dict(batch.next_offsets), sources=batch.records)
    tables: list[TableRows] = []
    for name in ("events", *facts.SCHEMAS):
        found = [table for part in parts for table in part.tables if table.name == name]
        if found:
            rows = pa.concat_tables([table.rows for table in found])
            tables.append(TableRows(name, rows, [source for table in found for source in table.sources]))
    times = [part.received_ns for part in parts if part.received_ns is not None]
    return Prepared(
        tables,
        [one for part in parts for one in part.letters],
        dict(batch.next_offsets),
        len(batch.records),
        (min(low for low, _ in times), max(high for _, high in times)) if times else None,
        batch.records,
    )


def _fact_tables(found: Mapping[str, _Facts]) -> Sequence[TableRows]:
    return [TableRows(name, facts.to_table(name, part.rows), part.sources) for name, part in found.items() if part.rows]
