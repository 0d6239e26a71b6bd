"""Runs statements on the store's reading clients: deadline, cost caps, and errors in our own classes."""

from __future__ import annotations

import asyncio
import time
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
        self._settings: dict[str, Any] = {
            **EXACT,
            "max_rows_to_read": settings.query_max_rows,
            "max_bytes_to_read": settings.query_max_bytes,
            "max_memory_usage": settings.query_max_memory_bytes,
        }

    async def rows(self, statement: Statement, deadline: Deadline) -> Sequence[Sequence[Any]]:
        """All rows of `statement`, in columns as selected; column ``raw`` as bytes.

        The engine stops the query itself when the deadline passes, also when nobody waits for it any more. Raises
        QueryTimedOut, QueryTooCostly or StoreUnavailable.
        """

        def job(client: Client) -> Sequence[Sequence[Any]]:
            settings = {**self._settings, "max_execution_time": round(deadline.remaining(), 3) or 0.001}
            result = client.query(
                statement.sql, parameters=dict(statement.parameters), settings=settings, column_formats=_BYTES
            )
            return result.result_rows

        try:
            async with asyncio.timeout(deadline.remaining()):
                return await self._store.read(job)
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
