"""A client of the embedded engine that is safe to use again after a call failed.

chDB keeps what a failed query had already written and puts it before the output of the next query on the same connection (seen
in 4.4.0 with errors, time limits and KILL QUERY in the middle of an answer): rows of one caller in the answer of another. So a
connection is never used again after a failure. A new one takes about 20 ms; the engine itself goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from clickhouse_connect.driver.client import Client


class EmbeddedClient:
    """Passes everything to a client of its own, which is replaced once a call raised. For one thread at a time."""

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._client: Client | None = connect()

    def __getattr__(self, name: str) -> Any:
        """The client's attribute; a method that raises has the client replaced."""
        if self._client is None:
            self._client = self._connect()
        attribute = getattr(self._client, name)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any, **options: Any) -> Any:
            try:
                return attribute(*arguments, **options)
            except BaseException:
                self.renew()
                raise

        return call

    def renew(self) -> None:
        """Let go of the connection; the next call makes a new one."""
        gone, self._client = self._client, None
        if gone is not None:
            with contextlib.suppress(Exception):  # what is wrong with it is known already
                gone.close()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
