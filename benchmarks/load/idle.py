"""gRPC connections that do nothing but stay: ``python -m benchmarks.load.idle PORT COUNT`` holds them until its input ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop

from benchmarks.load.http2 import GrpcConnection

#: Connections that are made at once.
_AT_ONCE = 50


@contextmanager
def idle_connections(port: int, count: int) -> Iterator[None]:
    """`count` connections to the gRPC door of `port`, made when the context begins. Blocks a second or two."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(port), str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the idle connections were not made")
        yield
    finally:
        process.stdin.close()
        process.wait(30)


async def _hold(port: int, count: int) -> None:
    loop = asyncio.get_running_loop()
    held = []
    for start in range(0, count, _AT_ONCE):
        made = [
            await loop.create_connection(
                lambda: GrpcConnection("/none", "none", lambda number, code: None), "127.0.0.1", port
            )
            for _ in range(start, min(start + _AT_ONCE, count))
        ]
        for _, connection in made:
            await connection.ready
            held.append(connection)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for connection in held:
        connection.close()


if __name__ == "__main__":
    uvloop.run(_hold(int(sys.argv[1]), int(sys.argv[2])))
