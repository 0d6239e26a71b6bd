"""What was erased, as the writer asks it before every insert (docs/adr/0033).

:class:`Tombstones` is pure. :class:`Erasures` holds the current ones for the writer's thread and for the erasure of the same
process: publishing waits for an insert that is under way, so what is erased afterwards is all there is. A writer that is a
process of its own hears of new ones within :data:`REFRESH_SECONDS`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

#: Kinds of tombstones that rows are compared with.
SESSION, EVENT = "session", "event"
#: A note of what was asked for; no row is compared with it.
SUBJECT = "subject"
#: How old the writer's tombstones may be, seconds.
REFRESH_SECONDS = 1.0
_COLUMNS = "tenant_id, project_id, kind, value, erasure_id, toUnixTimestamp64Nano(erased_at), toUnixTimestamp64Nano(until), reason"


class Stone(NamedTuple):
    """One row of `erasures`."""

    tenant_id: str
    #: Empty: of every project.
    project_id: str
    kind: str
    value: str
    erasure_id: str
    #: Unix nanoseconds.
    erased_ns: int
    #: Unix nanoseconds: covers what happened or was received up to then.
    until_ns: int
    reason: str = ""


class Tombstones:
    """A set of them, looked up by what a row says."""

    def __init__(self, stones: Iterable[Stone] = ()) -> None:
        self._found: dict[tuple[str, str, str], list[Stone]] = {}
        #: All values of a kind, whatever tenant: to find the rows that need a closer look.
        self.values: dict[str, set[str]] = {SESSION: set(), EVENT: set()}
        for stone in stones:
            if stone.kind in self.values:
                self._found.setdefault((stone.tenant_id, stone.kind, stone.value), []).append(stone)
                self.values[stone.kind].add(stone.value)

    def __bool__(self) -> bool:
        return bool(self._found)

    def covering(
        self, tenant_id: str, project_id: str | None, session_id: str, event_ids: Sequence[str], times_ns: Sequence[int]
    ) -> Stone | None:
        """The one that covers a row: `times_ns` are when it happened and was received, as far as it tells. `project_id` None:
        it does not tell."""
        earliest = min(times_ns)
        for kind, value in ((SESSION, session_id), *((EVENT, event_id) for event_id in event_ids)):
            for stone in self._found.get((tenant_id, kind, value), ()):
                if earliest <= stone.until_ns and stone.project_id in ("", project_id or stone.project_id):
                    return stone
        return None


def load(client: Client, since_ns: int = 0) -> list[Stone]:
    """Those of erasures since then. Blocks. Raises the driver's errors."""
    rows = client.query(
        f"SELECT {_COLUMNS} FROM erasures FINAL WHERE toUnixTimestamp64Nano(erased_at) >= {{since:Int64}} ORDER BY erased_at",  # noqa: S608 - ours
        parameters={"since": since_ns},
    ).result_rows
    return [
        Stone(
            str(tenant), str(project), str(kind), str(value), str(erasure), int(erased_ns), int(until_ns), str(reason)
        )
        for tenant, project, kind, value, erasure, erased_ns, until_ns, reason in rows
    ]


class Erasures:
    """The tombstones of this process, safe on any thread. `client` reads them, on the writer's thread only."""

    def __init__(self, client: Client | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._known: set[Stone] = set()
        self._current = Tombstones()
        self._read_at: float | None = None

    @contextmanager
    def inserting(self) -> Iterator[Tombstones]:
        """For the length of one insert: the tombstones it must go by. Raises the driver's errors."""
        with self._lock:
            now = self._clock()
            if self._client is not None and (self._read_at is None or now - self._read_at >= REFRESH_SECONDS):
                self._add(load(self._client))
                self._read_at = now
            yield self._current

    def publish(self, stones: Iterable[Stone]) -> None:
        """From the return on no insert of this process goes without them. Blocks while one is under way."""
        with self._lock:
            self._add(stones)

    def _add(self, stones: Iterable[Stone]) -> None:
        if new := set(stones) - self._known:
            self._known |= new
            self._current = Tombstones(self._known)
