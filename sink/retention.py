"""How long events are kept, and what must be kept for longer.

Days per tenant, counted from receipt, with a default (0: for ever); a legal hold on a tenant or on one session of it, which
retention never crosses. A run does, in this order:

1. months in which every event has expired and none is held are dropped as whole parts, with their ids;
2. in the others the expired rows are deleted, and the facts, copies, ids and letters of their age;
3. the days it took events from are counted again.

Facts, copies and letters do not know everything about their event: facts go by when they were stored, and of a tenant with
a hold on any session all copies, ids and letters stay. Reads say the truth while a run is under way, and after one that was
cut off; it is simply done again. A replay of a topic brings expired events back with their old time of receipt: until the
next run.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

from runtime.logs import get_logger
from sink.cluster import local_name, on_cluster
from sink.query.daily import forget_days
from sink.sqlfiles import read_sql
from sink.times import OVERFLOW_BUCKET

log = get_logger(__name__)

#: The default's row in `retention`.
DEFAULT = ""
#: Events may still come for months that are not older than this: they are at most 31 days away from their receipt.
_SETTLED_MONTHS = timedelta(days=62)
_NEVER = -(2**63)
_DAY_NS = 86_400 * 10**9
#: What `days` may be.
MAX_DAYS = 100_000
#: One run (or erasure, or pass of settling) of this process at a time, and no hold during one: it would be told that it is kept
#: what is just being deleted.
RUNS = threading.Lock()


@dataclass(frozen=True, slots=True)
class Hold:
    """`session_id` '': the whole tenant."""

    tenant_id: str
    session_id: str
    reason: str = ""
    #: When it was set, Unix nanoseconds; 0: not yet.
    set_ns: int = 0


@dataclass(slots=True)
class Report:
    """What a run did."""

    dropped_months: list[int] = field(default_factory=list)
    #: Rows deleted one by one, by table.
    deleted: dict[str, int] = field(default_factory=dict)


class Retention:
    """Policy and runs, on one client, by one thread at a time."""

    def __init__(self, client: Client, cluster: str = "", default_days: int = 0) -> None:
        self._client = client
        self._cluster = cluster
        self._default_days = default_days

    def set_days(self, tenant_id: str, days: int) -> None:
        """`tenant_id` :data:`DEFAULT`: of all tenants without days of their own. 0: for ever."""
        self._client.insert("retention", [[tenant_id, days]], column_names=["tenant_id", "days"])

    def days(self) -> dict[str, int]:
        """Days by tenant, the default under :data:`DEFAULT`."""
        rows = self._client.query("SELECT tenant_id, days FROM retention FINAL ORDER BY tenant_id").result_rows
        return {DEFAULT: self._default_days} | {str(tenant): int(days) for tenant, days in rows}

    def hold(self, hold: Hold) -> None:
        """From the return on no run deletes what is held. Blocks while a run of this process is under way."""
        with RUNS:
            self._set_hold(hold, released=0)

    def release(self, hold: Hold) -> bool:
        """False: there is no such hold."""
        there = any((one.tenant_id, one.session_id) == (hold.tenant_id, hold.session_id) for one in self.holds())
        if there:
            self._set_hold(hold, released=1)
        return there

    def holds(self) -> list[Hold]:
        """Those in force."""
        sql = (
            "SELECT tenant_id, session_id, reason, toUnixTimestamp64Micro(set_at) * 1000 FROM legal_holds FINAL "
            "WHERE released = 0 ORDER BY tenant_id, session_id"
        )
        return [Hold(*row) for row in self._client.query(sql).result_rows]

    def _set_hold(self, hold: Hold, released: int) -> None:
        self._client.insert(
            "legal_holds",
            [[hold.tenant_id, hold.session_id, hold.reason, released]],
            column_names=["tenant_id", "session_id", "reason", "released"],
        )

    def run(self, now: datetime | None = None) -> Report:
        """Drop and delete what has expired at `now`. Blocks. Raises the driver's errors: the run is then to be repeated."""
        with RUNS:
            return self._run(now or datetime.now(UTC))

    def _run(self, at: datetime) -> Report:
        days = self.days()
        report = Report()
        if not any(days.values()):
            return report
        parameters = self._parameters(days, at)
        touched = self._touched(parameters)
        for tenant in touched:
            forget_days(self._client, tenant)
        if touched:
            self._drop_months(at, parameters, report)
            self._delete("events", parameters, report)
        for tenant in touched:  # again: a day may have been counted meanwhile
            forget_days(self._client, tenant)
        for table in ("handoffs", "mcp_calls", "event_ids", "resends", "conflicts", "dead_letters"):
            self._delete(table, parameters, report)
        log.info("retention ran", dropped_months=len(report.dropped_months), deleted=sum(report.deleted.values()))
        return report

    def _parameters(self, days: Mapping[str, int], now: datetime) -> dict[str, Any]:
        now_ns = int(now.timestamp()) * 10**9
        cutoffs = {tenant: now_ns - kept * _DAY_NS if kept else _NEVER for tenant, kept in days.items()}
        holds = self.holds()
        sessions = [hold for hold in holds if hold.session_id]
        return {
            "default_cutoff": cutoffs.pop(DEFAULT),
            # transform() wants at least one; no tenant has this name.
            "tenants": [DEFAULT, *cutoffs],
            "cutoffs": [_NEVER, *cutoffs.values()],
            "held_tenants": [hold.tenant_id for hold in holds if not hold.session_id],
            "session_tenants": [hold.tenant_id for hold in sessions],
            "sessions": [hold.session_id for hold in sessions],
        }

    def _touched(self, parameters: dict[str, Any]) -> list[str]:
        """Tenants some of whose events expire."""
        sql = f"SELECT DISTINCT toString(tenant_id) FROM events WHERE {expired('events')}"  # noqa: S608 - a file of ours
        return [str(tenant) for (tenant,) in self._client.query(sql, parameters=parameters).result_rows]

    def _drop_months(self, now: datetime, parameters: Mapping[str, Any], report: Report) -> None:
        youngest = now - _SETTLED_MONTHS
        sql = (
            f"SELECT bucket FROM events WHERE bucket != {OVERFLOW_BUCKET} AND bucket < {{youngest:UInt32}} "  # noqa: S608 - ours
            f"GROUP BY bucket HAVING countIf(NOT ({expired('events')})) = 0 ORDER BY bucket"
        )
        rows = self._client.query(sql, parameters={**parameters, "youngest": youngest.year * 100 + youngest.month})
        for (bucket,) in rows.result_rows:
            # The ids last: they are what finds copies of an event that is still there.
            for table in ("events", "event_ids"):
                self._command(table, f"ALTER TABLE {{table}} DROP PARTITION {int(bucket)}")
            report.dropped_months.append(int(bucket))

    def _delete(self, table: str, parameters: dict[str, Any], report: Report) -> None:
        condition = expired(table)
        sql = f"SELECT count() FROM {table} WHERE {condition}"  # noqa: S608 - a file and a name of ours
        count = int(self._client.query(sql, parameters=parameters).result_rows[0][0])
        if count:
            self._command(table, f"DELETE FROM {{table}} WHERE {condition}", parameters)  # noqa: S608 - the same
            report.deleted[table] = count

    def _command(self, table: str, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        """`{table}` is the table that holds the rows, on every node."""
        name = f"{local_name(table, self._cluster)}{on_cluster(self._cluster)}"
        self._client.command(
            statement.replace("{table}", name),
            parameters=dict(parameters or {}),
            settings={"lightweight_deletes_sync": 2, "alter_sync": 2},
        )


def expired(table: str) -> str:
    """The condition on rows of `table`, with the parameters of a run."""
    return read_sql(f"retention/{table}.sql")
