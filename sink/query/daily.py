"""Counted days: what GetEventStats reads instead of the events of days at rest. Exact, because

* a day is counted from its deduplicated events, all of them, and used only while nothing came since;
* whether something came is asked of the events themselves, in the query that wants to know: an event carries the time at
  which the store took it (``ingested_at``), in the same part, so it cannot be seen without its mark. Copies that lose take
  part in this, and so do tombstones; a row that merging drops changes no count;
* behind `seen_until` every event is visible and its day is marked as touched. That point lies before the oldest insert that
  is running and `margin_seconds` before now, so an insert that still has to become visible is younger than it;
* a counted day replaces only the mark it saw before it read the events, and every later mark wins over it;
* what takes events away (retention) must call :func:`forget_days` afterwards, because absence leaves no trace.

So the pass in the background (:meth:`DailyStats.refresh`) decides how fast answers are, never what they say: killed anywhere
it leaves marks that are still true. A day that gets events all the time is simply read.

What it relies on: no insert becomes visible later than `margin_seconds` after it left ``system.processes`` of the server asked
(on a cluster: replication lag), and the store's clock does not go back by more than that between two passes (a pass that
notices forgets everything it counted).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from runtime.logs import get_logger
from sink.query.engine import EXACT
from sink.query.errors import COST_CODES
from sink.sqlfiles import read_sql
from sink.store_errors import code_of

log = get_logger(__name__)

#: A day is counted when nothing has come for it this long, seconds.
REST_SECONDS = 300.0
#: Days looked at, and seconds spent on counting, per pass.
DAYS_PER_PASS, SECONDS_PER_PASS = 500, 5.0


class DailyStats:
    """Marks and counts days with a client of its own, on one thread at a time."""

    def __init__(
        self,
        client: Client,
        *,
        margin_seconds: float,
        rest_seconds: float = REST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._margin_us = int(margin_seconds * 1e6)
        self._rest_us = int(rest_seconds * 1e6)
        self._clock = clock
        self._too_big: set[tuple[str, str, int]] = set()

    def refresh(self) -> int:
        """One pass: mark, then count days at rest for about :data:`SECONDS_PER_PASS`; returns how many were counted.

        Blocks. Raises the driver's errors: the pass is then to be repeated.
        """
        now_us, seen_us, inserting_seconds, generation = self._rows("now")[0]
        if seen_us > now_us:
            log.warning("the store's clock went back; counting days again", microseconds=seen_us - now_us)
            forget_all(self._client)
            return 0
        # 1: where marking will have come; before the events are looked at
        until_us = max(now_us - int(inserting_seconds * 1e6) - self._margin_us, seen_us)
        # 2: mark what came since the last pass
        self._command("mark", generation=max(now_us, generation + 1), seen_us=seen_us)
        # 3: only now say so
        self._client.command(
            "INSERT INTO event_stats_progress SELECT 'days', fromUnixTimestamp64Micro({until_us:Int64}, 'UTC')",
            parameters={"until_us": until_us},
        )
        return self._count(min(until_us, now_us - self._rest_us))

    def _count(self, rested_us: int) -> int:
        """Days whose last event came before `rested_us`: those have no mark to come for what is there."""
        deadline = self._clock() + SECONDS_PER_PASS
        counted = 0
        for tenant, project, day, generation in self._rows("resting", rested_us=rested_us, most=DAYS_PER_PASS):
            if self._clock() > deadline:
                break
            if (tenant, project, day) in self._too_big:
                continue
            try:
                self._command("count_day", tenant_id=tenant, project_id=project, day=day, generation=generation)
                counted += 1
            except ClickHouseError as error:
                if code_of(error) not in COST_CODES:
                    raise
                self._too_big.add((tenant, project, day))
                log.warning("a day is too big to be counted; its events are read instead", day=day)
        if counted:
            log.info("days counted", days=counted)
        return counted

    def _rows(self, name: str, **parameters: Any) -> list[tuple[Any, ...]]:
        result = self._client.query(read_sql(f"stats/{name}.sql"), parameters=parameters, settings=EXACT)
        return [tuple(row) for row in result.result_rows]

    def _command(self, name: str, **parameters: Any) -> None:
        self._client.command(read_sql(f"stats/{name}.sql"), parameters=parameters, settings=EXACT)


def forget_days(client: Client, tenant_id: str = "") -> None:
    """The days of `tenant_id` (empty: of every tenant) are to be counted again: call after events were taken away. Blocks."""
    generation = client.query(
        "SELECT greatest(max(generation) + 1, toUInt64(toUnixTimestamp64Micro(now64(6)))) FROM event_stats_days"
    ).result_rows[0][0]
    parameters = {"tenant_id": tenant_id, "generation": generation}
    client.command(read_sql("stats/forget_days.sql"), parameters=parameters)


def forget_all(client: Client) -> None:
    """Everything is to be counted again: nobody uses counted days now, and the next pass marks all days first. Blocks."""
    client.command("TRUNCATE TABLE event_stats_progress")
