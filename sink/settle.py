"""Settles copies of an event that arrived unmarked under different keys: the first one stays, the others are hidden.

A pass looks at the ids that came since the last one (through `event_ids`, so its cost follows what came in, not what is
stored) and does, in this order, so that a pass that was cut off is simply done again:

1. keep what is lost: a copy with other content goes to `conflicts` whole, one with the same content to `resends`;
2. hide it: a tombstone under its key in `events` (an insert, so it survives replays, merges and replicas); conflicts of
   its id name the copy that stays;
3. take back its facts: its hand-off, its half of an MCP call, its pick-up of a hand-off;
4. mark the copy as settled in `event_ids`.

Everything is keyed by raw position or by the key it corrects, so doing it twice, or two processes doing it at once, changes
nothing. A replayed copy stays hidden; an even earlier copy that comes later wins over both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from chaukas.spec.common.v1 import events_pb2 as pb
from clickhouse_connect.driver.client import Client

from runtime.logs import get_logger
from sink import facts
from sink.lost import TOMBSTONES, Lost, Stored
from sink.metrics import SinkMetrics
from sink.settlement import Copy, Key, hash_ranges, losses
from sink.sqlfiles import read_sql

log = get_logger(__name__)

#: Ids settled per step; bounds memory and statement size.
IDS_PER_STEP = 500
#: Conflicts kept per insert; an event is at most a mebibyte, and most have few copies.
PAYLOADS_PER_INSERT = 32
#: Recent copies per slice of a pass; bounds the engine's memory after a long backlog.
COPIES_PER_SLICE = 500_000
#: A fact may reach the store later than its event: facts of copies that lost are looked for this long.
LATE_FACTS = timedelta(hours=1)


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


class Settler:
    """Runs passes with a client of its own, on one thread at a time; `margin_seconds` covers inserts that were running while
    the last pass looked."""

    def __init__(
        self,
        client: Client,
        metrics: SinkMetrics,
        *,
        margin_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._metrics = metrics
        self._margin = timedelta(seconds=margin_seconds)
        self._clock = clock
        self._late: list[tuple[datetime, Lost]] = []

    def settle(self) -> int:
        """One pass; returns how many copies lost. Blocks. Raises the driver's errors: the pass is then to be repeated."""
        started = self._clock()
        until = self._now()
        since = self._settled_until() - self._margin
        total = 0
        recent = int(self._rows("slices", since=since)[0][0])
        if recent:
            for low, high in hash_ranges(recent // COPIES_PER_SLICE + 1):
                total += self._slice(since, until, low, high)
        self._late_facts(until)
        self._complete_conflicts(since)
        self._client.insert("settle_progress", [["settle", until]], column_names=["name", "settled_until"])
        self._metrics.unsettled.set(0)
        self._metrics.settled_until.set(until.timestamp())
        self._metrics.settle_seconds.observe(self._clock() - started)
        if total:
            log.info("copies settled", copies=total)
        return total

    def _slice(self, since: datetime, until: datetime, low: int, high: int) -> int:
        """Settle the ids whose hash lies in the range, step by step; returns how many copies lost."""
        total = 0
        while low <= high:
            ids = [row[1] for row in self._rows("unsettled_ids", since=since, low=low, high=high, most=IDS_PER_STEP)]
            if ids:
                total += self._step(until, ids)
            if len(ids) < IDS_PER_STEP:
                break
            low = ids[-1] + 1
        return total

    def _step(self, now: datetime, ids: Sequence[int]) -> int:
        """Settle these ids; returns how many copies lost."""
        copies = [Copy(row[0], row[1], row[2], row[3], int(row[4]), *row[5:]) for row in self._rows("copies", ids=ids)]
        stored = self._stored(copies)
        known = [replace(copy, event_id=stored[copy.key].event_id) for copy in copies if copy.key in stored]
        lost = [Lost(loss, stored[loss.loser.key], stored[loss.winner.key]) for loss in losses(known)]
        if not lost:
            return 0
        self._metrics.unsettled.set(len(lost))
        self._keep(lost)
        self._hide(lost)
        self._point(lost)
        self._take_back(lost)
        self._mark(lost)
        self._late += [(now, one) for one in lost]
        for one in lost:
            kind = "resend" if one.loss.is_resend else "conflict"
            self._metrics.settled.labels(kind).inc()
            (self._metrics.resends if kind == "resend" else self._metrics.conflicts).labels("settle").inc()
        return len(lost)

    def _stored(self, copies: Sequence[Copy]) -> dict[Key, Stored]:
        """What `events` holds, by key; the copies of one key have the same id and content, their bytes may differ."""
        found: dict[Key, Stored] = {}
        keys = sorted({copy.key for copy in copies})
        rows = self._rows(
            "stored",
            tenants=[key[0] for key in keys],
            projects=[key[1] for key in keys],
            times=[key[2] for key in keys],
            hashes=[key[3] for key in keys],
        )
        for tenant, project, ts_ns, event_hash, partition, offset, *columns, content_sha256 in rows:
            row = found.setdefault((tenant, project, ts_ns, event_hash), Stored(*columns))
            row.content_sha256[partition, offset] = content_sha256
        return found

    def _keep(self, lost: Sequence[Lost]) -> None:
        """1: everything `events` is about to lose."""
        resends = [one.resend_row() for one in lost if one.loss.is_resend]
        if resends:
            self._client.insert_arrow("resends", facts.to_table("resends", resends))
        conflicts = [one for one in lost if not one.loss.is_resend]
        for start in range(0, len(conflicts), PAYLOADS_PER_INSERT):
            some = conflicts[start : start + PAYLOADS_PER_INSERT]
            payloads = self._payloads([one.loss.loser for one in some])
            rows = [one.conflict_row(raw) for one, raw in zip(some, payloads, strict=True)]
            self._client.insert_arrow("conflicts", facts.to_table("conflicts", rows))

    def _payloads(self, copies: Sequence[Copy]) -> list[bytes]:
        """Of each copy, its own bytes where `events` still has them, else those of an equal copy."""
        own: dict[tuple[int, int], bytes] = {}
        equal: dict[Key, bytes] = {}
        keys = sorted({copy.key for copy in copies})
        for tenant, project, ts_ns, event_hash, partition, offset, raw in self._rows(
            "payloads",
            tenants=[key[0] for key in keys],
            projects=[key[1] for key in keys],
            times=[key[2] for key in keys],
            hashes=[key[3] for key in keys],
        ):
            own[partition, offset] = equal[tenant, project, ts_ns, event_hash] = raw
        return [own.get((copy.raw_partition, copy.raw_offset)) or equal.get(copy.key, b"") for copy in copies]

    def _hide(self, lost: Sequence[Lost]) -> None:
        """2: a tombstone per copy that the engine does not hide by itself."""
        rows = [one.tombstone_row() for one in lost if not one.loss.hides_itself]
        if rows:
            self._client.insert_arrow("events", pa.Table.from_pylist(rows, schema=TOMBSTONES))

    def _point(self, lost: Sequence[Lost]) -> None:
        """2: what was compared with a copy that was stored until now."""
        events = sorted({(one.loss.loser.tenant_id, one.stored.event_id) for one in lost})
        found = self._rows("conflicts_of", tenants=[row[0] for row in events], events=[row[1] for row in events])
        if found:
            self._point_conflicts(found)

    def _take_back(self, lost: Sequence[Lost]) -> None:
        """3: the facts that were derived from copies that lost."""
        handoffs = [one.handoff_tombstone() for one in lost if one.stored.type == pb.EVENT_TYPE_AGENT_HANDOFF]
        if handoffs:
            self._client.insert("handoffs", [list(row.values()) for row in handoffs], column_names=list(handoffs[0]))
        calls = [one for one in lost if one.stored.type in (pb.EVENT_TYPE_MCP_CALL_START, pb.EVENT_TYPE_MCP_CALL_END)]
        if calls:
            self._command(
                "lost_mcp_calls",
                tenants=[one.loss.loser.tenant_id for one in calls],
                partitions=[one.loss.loser.raw_partition for one in calls],
                offsets=[one.loss.loser.raw_offset for one in calls],
            )
        # A copy that differs in neither session nor time picked up what its winner picked up.
        pickups = [one for one in lost if one.stored.session_id and not one.same_place]
        if pickups:
            self._command(
                "lost_pickups",
                tenants=[one.loss.loser.tenant_id for one in pickups],
                projects=[one.loss.loser.project_id for one in pickups],
                sessions=[one.stored.session_id for one in pickups],
                events=[one.stored.event_id for one in pickups],
                times=[one.loss.loser.ts_ns for one in pickups],
            )

    def _mark(self, lost: Sequence[Lost]) -> None:
        """4: never again."""
        rows = [one.settled_row() for one in lost]
        self._client.insert("event_ids", [list(row.values()) for row in rows], column_names=list(rows[0]))

    def _late_facts(self, now: datetime) -> None:
        """Facts that came after their event had lost."""
        self._late = [(when, one) for when, one in self._late if now - when <= LATE_FACTS]
        for start in range(0, len(self._late), IDS_PER_STEP):
            self._take_back([one for _, one in self._late[start : start + IDS_PER_STEP]])

    def _complete_conflicts(self, since: datetime) -> None:
        """Conflicts the processors marked know the earlier copy's offset only: add the stored copy's hash and position."""
        tenant = event = ""
        while True:
            rows = self._rows("unhashed_conflicts", since=since, tenant=tenant, event=event, most=IDS_PER_STEP)
            if rows:
                self._point_conflicts(rows)
            if len(rows) < IDS_PER_STEP:
                return
            tenant, event = rows[-1]

    def _point_conflicts(self, events: Sequence[Sequence[str]]) -> None:
        """Let the conflicts of these (tenant, event id) name the copy that is stored."""
        self._command("hash_conflicts", tenants=[row[0] for row in events], events=[row[1] for row in events])

    def _now(self) -> datetime:
        """The store's clock, seconds: the one that `ingested_at` comes from."""
        return _utc(int(self._client.query("SELECT toUnixTimestamp(now())").result_rows[0][0]))

    def _settled_until(self) -> datetime:
        rows = self._client.query(
            "SELECT toUnixTimestamp(max(settled_until)) FROM settle_progress WHERE name = 'settle'"
        ).result_rows
        return _utc(int(rows[0][0]))

    def _rows(self, name: str, **parameters: Any) -> Sequence[Sequence[Any]]:
        result = self._client.query(
            read_sql(f"settle/{name}.sql"), parameters=parameters, column_formats={"raw": "bytes"}
        )
        return result.result_rows

    def _command(self, name: str, **parameters: Any) -> None:
        self._client.command(read_sql(f"settle/{name}.sql"), parameters=parameters)
