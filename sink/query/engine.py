"""Runs statements on the store's reading clients: deadline, cost caps, and errors in our own classes."""

from __future__ import annotations

import asyncio
import math
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from contracts.errors import GatewayError
from runtime.logs import get_logger
from runtime.settings import SinkSettings
from sink.query.builder import Statement
from sink.query.errors import QueryTimedOut, of_store
from sink.store_errors import StoreUnavailable, describe

T = TypeVar("T")

log = get_logger(__name__)

#: What makes a read with FINAL exact, whatever the server's profile says: an index may not hide the winning copy of a row
#: whose losing copy it kept, conditions on other than key columns wait until a winner is known, and copies in different
#: partitions meet. And what the statements in sql/ rely on beside.
EXACT = {
    "use_skip_indexes_if_final_exact_mode": 1,
    "optimize_move_to_prewhere_if_final": 0,
    "do_not_merge_across_partitions_select_final": 0,
    # grouping() as the SQL standard has it: 1 for a column that the row's grouping set leaves out.
    "force_grouping_standard_compatibility": 1,
}
#: Values that are bytes, not text.
_BYTES: dict[str, str | dict[str, str]] = {"raw": "bytes"}


class Reads(Protocol):
    """What the query server needs of a store."""

    async def read(self, job: Callable[[Client], T]) -> T:
        """Run `job` with a reading client on a thread."""

    async def stop(self, tag: str, ended: threading.Event) -> None:
        """Stop the queries tagged `tag` in the engine, unless or until `ended`."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in monotonic time."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left. Raises QueryTimedOut when there are none."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise QueryTimedOut("the query did not end in time")
        return left


class Engine:
    """Reads rows. Used from the event loop; the reads themselves run on the store's threads."""

    def __init__(self, store: Reads, settings: SinkSettings) -> None:
        self._store = store
        self._stopping: set[asyncio.Task[None]] = set()
        self._settings: dict[str, Any] = {
            **EXACT,
            "max_rows_to_read": settings.query_max_rows,
            "max_bytes_to_read": settings.query_max_bytes,
            "max_memory_usage": settings.query_max_memory_bytes,
        }

    async def rows(self, statement: Statement, deadline: Deadline) -> Sequence[Sequence[Any]]:
        """All rows of `statement`, in columns as selected; column ``raw`` as bytes.

        The engine stops the query itself when the deadline passes, and is told to when the caller is cancelled. Raises
        QueryTimedOut, QueryTooCostly or StoreUnavailable.
        """
        tag, given_up, ended = uuid.uuid4().hex, threading.Event(), threading.Event()

        def job(client: Client) -> Sequence[Sequence[Any]]:
            try:
                if given_up.is_set():
                    return ()
                settings = {
                    **self._settings,
                    # Rounded up: when the engine's time is up, the deadline has passed.
                    "max_execution_time": math.ceil(deadline.remaining() * 1000) / 1000,
                    "log_comment": tag,
                }
                result = client.query(
                    statement.sql, parameters=dict(statement.parameters), settings=settings, column_formats=_BYTES
                )
                # A query that was stopped, or ran into its time limit, may have answered nothing, or a part, without an error
                # (seen in the embedded engine). An error has the store take a new connection, see sink/embedded.py.
                deadline.remaining()
                if given_up.is_set():
                    raise QueryTimedOut("the query was given up")
                return result.result_rows
            finally:
                ended.set()

        try:
            async with asyncio.timeout(deadline.remaining()):
                return await self._read(job, tag, given_up, ended)
        except TimeoutError:
            raise QueryTimedOut("the query did not end in time") from None
        except GatewayError:
            raise
        except ClickHouseError as error:
            log.warning("query failed", error=describe(error))
            raise of_store(error) from None
        except OSError as error:  # the connection to a server broke
            log.warning("query failed", error=type(error).__name__)
            raise StoreUnavailable("the store does not answer") from None

    async def _read(self, job: Callable[[Client], T], tag: str, given_up: threading.Event, ended: threading.Event) -> T:
        """Run `job`; when the caller does not wait for it any more, it does not run on."""
        reading = asyncio.ensure_future(self._store.read(job))
        try:
            return await reading
        except asyncio.CancelledError:
            given_up.set()
            stopping = asyncio.create_task(self._stop(tag, ended))
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)
            raise

    async def _stop(self, tag: str, ended: threading.Event) -> None:
        if ended.is_set():
            return
        try:
            await self._store.stop(tag, ended)
        except (ClickHouseError, OSError, RuntimeError) as error:  # RuntimeError: the store is closed already
            log.warning("a query that nobody waits for was not stopped", error=describe(error))
