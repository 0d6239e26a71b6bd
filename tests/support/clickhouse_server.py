"""A ClickHouse server for tests, as a process of its own (see clickhouse_http.py)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Server:
    """One data directory; the port stays the same when it is killed and started again."""

    directory: Path
    port: int = 0
    process: subprocess.Popen[str] | None = field(default=None, repr=False)
    #: What runs as the server.
    module: str = "tests.support.clickhouse_http"

    def dsn(self, database: str) -> str:
        return f"clickhouse://127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Blocks until it answers."""
        command = [
            sys.executable,
            "-m",
            self.module,
            str(self.directory / "server"),
            str(self.port),
        ]
        root = Path(__file__).parents[2]
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=root)
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        assert first.startswith("port "), (self.directory / "server.log").read_text()[-2000:]
        self.port = int(first.split()[1])

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None


@contextmanager
def clickhouse_server(directory: Path) -> Iterator[Server]:
    """Runs until the block ends; `directory` holds its data."""
    server = Server(directory)
    server.start()
    try:
        yield server
    finally:
        server.kill()
