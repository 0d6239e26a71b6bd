"""Stores one prepared batch: inserts with retries and bisection, then dead letters. Runs on a thread of its own.

The consumer's thread goes on polling meanwhile, so an outage of ClickHouse costs neither the group membership nor a record.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from contracts.dead_letters import Reason
from contracts.errors import Unavailable
from contracts.flood import Flood
from contracts.headers import shown_event_id
from contracts.v1.dead_letter_pb2 import DeadLetter
from runtime.logs import get_logger
from sink.erased_rows import ERASURE_ID, covering_letter, split, withhold
from sink.flood import FloodGuard, FloodOfDeadLetters
from sink.metrics import SinkMetrics
from sink.prepare import Prepared, TableRows, letter
from sink.route import BadRecord
from sink.store_errors import Fault, StoreUnavailable, describe, fault_of
from sink.tombstones import Erasures
from sink.traces import inserted
from sink.watchdog import Pulse

if TYPE_CHECKING:
    from runtime.spans import Tracing

log = get_logger(__name__)

Insert = Callable[[str, pa.Table], None]


class Abandoned(Exception):
    """The batch was given up (partitions revoked, process stopping): do not commit it."""


class Letters(Protocol):
    """Where dead letters go; returns when they are durable, raises Unavailable."""

    def send(self, letters: Sequence[DeadLetter]) -> None: ...


def arrow_insert(client: Client, timeout_seconds: float) -> Insert:
    """An insert through `client`, bounded to `timeout_seconds` by the engine.

    One that took that long, or tells of fewer rows than it got, has failed, whatever else it says: the embedded engine may end
    a statement at its time limit without an error. It raises :class:`StoreUnavailable`, so the rows are inserted again.
    """
    settings: dict[str, Any] = {
        "max_execution_time": timeout_seconds,
        # Durable when it returns, whatever the server's default is.
        "async_insert": 0,
        # An insert after a long outage may span many months.
        "max_partitions_per_insert_block": 0,
    }

    def insert(table: str, rows: pa.Table) -> None:
        started = time.monotonic()
        summary = client.insert_arrow(table, rows, settings=settings)
        if time.monotonic() - started >= timeout_seconds:
            raise StoreUnavailable(f"the insert took its whole time of {timeout_seconds:g} s")
        written = summary.written_rows
        if written and written < rows.num_rows:
            raise StoreUnavailable(f"the store tells of {written} of {rows.num_rows} rows")

    return insert


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full-jitter back-off."""

    first_seconds: float = 0.2
    most_seconds: float = 10.0

    def delay(self, attempt: int) -> float:
        """Seconds before attempt `attempt` + 1; `attempt` counts from 1."""
        bound = min(self.most_seconds, self.first_seconds * 2.0 ** min(attempt - 1, 30))
        return bound * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, guards nothing


class Writer:
    """Inserts and dead-letters; see :meth:`store`."""

    def __init__(
        self,
        insert: Insert,
        letters: Letters,
        metrics: SinkMetrics,
        backoff: Backoff | None = None,
        flood: FloodGuard | None = None,
        pulse: Pulse | None = None,
        erasures: Erasures | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._tracing = tracing
        self._erasures = erasures or Erasures()
        self._pulse = pulse or Pulse()
        self._flood = flood or FloodGuard()
        self._insert = insert
        self._letters = letters
        self._metrics = metrics
        self._backoff = backoff or Backoff()
        #: What is wrong with the store at the moment, for the readiness page; '' when the last insert worked.
        self.problem = ""

    def store(self, prepared: Prepared, abandon: threading.Event) -> list[DeadLetter]:
        """Return when every row is stored and every letter acknowledged; the letters sent are returned.

        Blocks as long as the store is away. Raises :class:`Abandoned` once `abandon` is set and the running insert is
        through. Rows that are already stored then stay: storing them again changes nothing.
        """
        letters = self._without_erased(prepared.letters) if prepared.letters else []
        started = time.monotonic()
        if self._tracing is None:
            self._store_tables(prepared, letters, abandon)
        else:
            self._store_traced(self._tracing, prepared, letters, abandon)
        self._metrics.insert_seconds.observe(time.monotonic() - started)
        if len(letters) > len(prepared.letters):
            self._flood.check_again(prepared.sources, letters)
        if letters:
            self._send(letters, abandon)
        return letters

    def _store_tables(self, prepared: Prepared, letters: list[DeadLetter], abandon: threading.Event) -> None:
        for table in prepared.tables:
            self._store_table(table, letters, abandon)

    def _store_traced(
        self, tracing: Tracing, prepared: Prepared, letters: list[DeadLetter], abandon: threading.Event
    ) -> None:
        started_ns, problem = time.time_ns(), ""
        try:
            self._store_tables(prepared, letters, abandon)
        except Exception as error:
            problem = type(error).__name__
            raise
        finally:
            inserted(tracing, prepared, started_ns, problem)

    def _store_table(self, rows: TableRows, letters: list[DeadLetter], abandon: threading.Event) -> None:
        """Insert; refused rows are isolated by halving and added to `letters`.

        A flood within this table ends it here, because isolating row by row is slow; what adds up over tables and batches is
        seen by the guard.
        """
        todo = [rows]
        attempt = 0
        flood = Flood()
        while todo:
            if abandon.is_set():
                raise Abandoned
            part = todo.pop()
            try:
                self._watched_insert(part)
            except Exception as error:  # noqa: BLE001 - sorted by code; what nobody knows is retried, never dropped
                fault = fault_of(error)
                self._metrics.insert_failures.labels(fault.value).inc()
                if fault is not Fault.RETRY and len(part.sources) > 1:
                    first, second = part.halves()
                    todo += (second, first)
                elif fault is Fault.DATA:
                    refused = BadRecord(Reason.ROW_REFUSED, f"table {part.name}: {describe(error)}")
                    letters.append(letter(part.sources[0], refused, withhold=self._is_erased(part)))
                    self._flood.count(flood, part.sources[0], refused.reason.value)
                    if what := flood.problem():
                        if not self._flood.ask_accepted():
                            where = f"table {part.name}"
                            raise FloodOfDeadLetters(what, where, flood.reasons(), str(refused)) from None
                        flood = Flood()  # accepted meanwhile
                    log.warning(
                        "row refused",
                        table=part.name,
                        event_id=shown_event_id(part.sources[0].headers),
                        error=describe(error),
                    )
                else:
                    attempt += 1
                    self._wait(f"inserts into {part.name} fail: {describe(error)}", attempt, abandon)
                    todo.append(part)
            else:
                attempt = 0
                flood.good(len(part.sources))
                self.problem = ""
                self._metrics.rows_stored.labels(part.name).inc(len(part.sources))

    def _watched_insert(self, part: TableRows) -> None:
        self._pulse.inserts += 1
        self._pulse.inserting = True
        try:
            with self._erasures.inserting() as stones:
                for rows in split(part.name, part.rows, stones):
                    self._insert(part.name, rows)
        finally:
            self._pulse.inserting = False

    def _is_erased(self, part: TableRows) -> bool:
        """A tombstone covers this one row: its letter must not have what the row must not have."""
        with self._erasures.inserting() as stones:
            return any(ERASURE_ID.name in rows.column_names for rows in split(part.name, part.rows, stones))

    def _without_erased(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """`letters`, without the content of what was erased."""
        with self._erasures.inserting() as stones:
            for one in letters:
                if covering_letter(one, stones) is not None:
                    withhold(one)
        return list(letters)

    def _send(self, letters: Sequence[DeadLetter], abandon: threading.Event) -> None:
        attempt = 0
        while True:
            try:
                self._letters.send(letters)
            except Unavailable as error:
                attempt += 1
                self._wait(str(error), attempt, abandon)
            else:
                break
        self.problem = ""
        firsts: dict[str, DeadLetter] = {}
        for sent in letters:
            self._metrics.dead_letters.labels(sent.reason).inc()
            firsts.setdefault(sent.reason, sent)
        for reason, first in firsts.items():
            log.warning(
                "dead letters",
                reason=reason,
                count=sum(sent.reason == reason for sent in letters),
                topic=first.topic,
                partition=first.partition,
                first_offset=first.offset,
                first_event_id=shown_event_id([(header.name, header.value) for header in first.headers]),
            )

    def _wait(self, problem: str, attempt: int, abandon: threading.Event) -> None:
        """Back off before the next attempt; raises Abandoned when the batch is given up meanwhile."""
        self.problem = problem
        delay = self._backoff.delay(attempt)
        log.warning("waiting for the store", problem=problem, attempt=attempt, delay_seconds=round(delay, 2))
        if abandon.wait(delay):
            raise Abandoned
