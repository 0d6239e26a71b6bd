"""A ClickHouse server for tests, as a process of its own (see clickhouse_http.py)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Server:
    port: int

    def dsn(self, database: str) -> str:
        return f"clickhouse://127.0.0.1:{self.port}/{database}"


@contextmanager
def clickhouse_server(directory: Path) -> Iterator[Server]:
    """Runs until the block ends; `directory` holds its data."""
    command = [sys.executable, "-m", "tests.support.clickhouse_http", str(directory / "server")]
    with (directory / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=Path(__file__).parents[2]
        )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("port "), (directory / "server.log").read_text()[-2000:]
        yield Server(int(first.split()[1]))
    finally:
        process.kill()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()
