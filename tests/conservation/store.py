"""A ClickHouse server that fails on command: the HTTP interface of tests/support, with a second way in for the trial.

``POST /fault`` with ``{"kind": …}`` says what happens to inserts from then on:

- ``none``: they are stored;
- ``refuse``: every one is answered with `code` (a ClickHouse error code), before or after (`stored`) its rows are in;
- ``poison``: one that holds a row whose event_id begins with `prefix` is refused with `code`;
- ``hang``: no answer comes until the fault is changed.

A full disk is none of these: it is the engine's own limit (``min_free_disk_bytes_to_perform_insert``), see :meth:`FaultyStore.disk_full`.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.support import clickhouse_http
from tests.support.clickhouse_server import Server

DATABASE = "gateway"
_TABLES = ("events", "event_ids", "conflicts", "resends", "handoffs", "mcp_calls", "dead_letters")


class _Faulty(clickhouse_http._Handler):
    """Answers inserts as the current fault wants it."""

    fault: Mapping[str, Any] = {"kind": "none"}

    def do_POST(self) -> None:
        if urllib.parse.urlsplit(self.path).path == "/fault":
            type(self).fault = json.loads(self._body())
            self._reply(200, b"")
        else:
            super().do_POST()

    def _answer(self, session: Any, statement: bytes, given: Mapping[str, str]) -> tuple[int, bytes, dict[str, str]]:
        insert = clickhouse_http._INSERT.match(statement)
        fault = type(self).fault
        if insert is None or fault["kind"] == "none":
            return super()._answer(session, statement, given)
        if fault["kind"] == "hang":
            while type(self).fault is fault:
                time.sleep(0.05)
            return clickhouse_http._error("Code: 159. the fault was taken away")
        if fault["kind"] == "poison" and not _holds(statement[insert.end() :], fault["prefix"]):
            return super()._answer(session, statement, given)
        if fault.get("stored"):
            super()._answer(session, statement, given)
        return clickhouse_http._error(f"Code: {fault['code']}. refused by the trial")


def _holds(data: bytes, prefix: str) -> bool:
    """Whether an Arrow table has a row whose event_id begins with `prefix`."""
    with pa.ipc.open_file(data) if data.startswith(b"ARROW1") else pa.ipc.open_stream(data) as reader:
        table = reader.read_all()
    if "event_id" not in table.column_names:
        return False
    wanted = prefix.encode()
    return any(
        (value.encode() if isinstance(value, str) else value).startswith(wanted)
        for value in table.column("event_id").to_pylist()
    )


@dataclass
class FaultyStore(Server):
    """The process, and what the trial tells it."""

    module: str = "tests.conservation.store"

    @property
    def stack_dsn(self) -> str:
        return self.dsn(DATABASE)

    def fault(self, kind: str, **more: Any) -> None:
        self._post("/fault", json.dumps({"kind": kind, **more}).encode())

    def disk_full(self, full: bool) -> None:
        """The engine refuses inserts (NOT_ENOUGH_SPACE), as if less was free than it must leave."""
        limit = 1 << 60 if full else 0
        for table in _TABLES:
            self.command(
                f"ALTER TABLE {DATABASE}.{table} MODIFY SETTING min_free_disk_bytes_to_perform_insert = {limit}"
            )

    def command(self, statement: str) -> str:
        """Run one statement; its answer as text. Raises AssertionError with the engine's words."""
        return self._post("/", statement.encode()).decode()

    def _post(self, path: str, body: bytes) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                data: bytes = answer.read()
                return data
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None


def main() -> None:
    server = clickhouse_http.ClickHouseHttp(Path(sys.argv[1]), int(sys.argv[2]), handler=_Faulty)
    print(f"port {server.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
