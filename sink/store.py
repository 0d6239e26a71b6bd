"""Clients of the store, embedded engine or server behind one interface.

One client writes, one settles, a few read, one stops queries nobody waits for: writes and reads do not block each other. A client is used by one thread at a
time. Every call into the driver blocks, so asyncio code goes through :meth:`Store.read`. The embedded engine releases the
GIL while it works; its data directory belongs to one process, which :meth:`Store.open` checks with a lock of its own because
the engine's error does not say so.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from sink import cluster
from sink.dsn import EmbeddedDsn, ServerDsn, parse_dsn
from sink.embedded import EmbeddedClient
from sink.store_errors import DirectoryInUse

T = TypeVar("T")

#: Time to connect to a server, seconds.
CONNECT_SECONDS = 5
#: How often a query that nobody waits for is stopped, and how long each time is waited for its end, seconds.
STOP_ATTEMPTS, STOP_WAIT_SECONDS = 10, 0.2
#: Files this product keeps beside the engine's own in the data directory.
LOCK_FILE = "gateway.lock"
CONFIG_FILE = "gateway-config.xml"
ENGINE_DIRECTORY = "data"


class Store:
    """An open store. Create with :meth:`open`; close with :meth:`close`, on any thread."""

    def __init__(
        self, connect: Callable[[], Client], readers: int, lock: int | None, embedded: bool, cluster: str = ""
    ) -> None:
        self.embedded = embedded
        #: Name of the cluster; empty: one server or the embedded engine.
        self.cluster = cluster
        self._lock = lock
        self._opened: list[Client] = []
        self._connect = connect
        self._free: queue.SimpleQueue[Client] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(readers, thread_name_prefix="store-read")
        self._stopping = ThreadPoolExecutor(1, thread_name_prefix="store-stop")
        try:
            #: For inserts of the consumer.
            self.writer = self._client()
            #: For settling and migrations.
            self.settler = self._client()
            for _ in range(readers):
                self._free.put(self._client())
            self._stopper = self._client()
        except BaseException:
            self._lock = None  # stays the caller's
            self.close()
            raise

    @classmethod
    def open(
        cls,
        dsn: str,
        *,
        readers: int = 4,
        request_seconds: float = 65.0,
        memory_bytes: int = 1 << 31,
        ca_file: Path | None = None,
    ) -> Store:
        """Connect; creates the data directory or database. Blocks up to :data:`CONNECT_SECONDS` per client of a server.

        `request_seconds` bounds a request to a server; `memory_bytes` caps the embedded engine (a server has its own
        limits); `ca_file` is the CA (PEM) of a server's certificate, None: the usual ones. Raises InvalidDsn, DirectoryInUse
        or the driver's errors (see :mod:`sink.store_errors`).
        """
        target = parse_dsn(dsn)
        if isinstance(target, EmbeddedDsn):
            return _open_embedded(target, readers, memory_bytes)
        return _open_server(target, readers, request_seconds, ca_file)

    def _client(self) -> Client:
        client = self._connect()
        self._opened.append(client)
        return client

    async def read(self, job: Callable[[Client], T]) -> T:
        """Run `job` with a reading client on a thread; at most `readers` run at once, the others wait in order.

        A cancelled caller stops waiting; the job itself ends with its own deadline (give queries `max_execution_time`), or
        by :meth:`stop`.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, job)

    async def stop(self, tag: str, ended: threading.Event) -> None:
        """End the queries whose setting `log_comment` is `tag` in the engine, until `ended` is set; gives up after two seconds.

        Asked repeatedly, because a query that a thread is about to send is not there yet. Raises the driver's errors.
        """
        await asyncio.get_running_loop().run_in_executor(self._stopping, self._stop, tag, ended)

    def _stop(self, tag: str, ended: threading.Event) -> None:
        for _ in range(STOP_ATTEMPTS):
            self._stopper.command(
                "KILL QUERY WHERE Settings['log_comment'] = {tag:String} ASYNC", parameters={"tag": tag}
            )
            if ended.wait(STOP_WAIT_SECONDS):
                return

    def _run(self, job: Callable[[Client], T]) -> T:
        client = self._free.get()
        try:
            return job(client)
        except BaseException:
            if isinstance(client, EmbeddedClient):
                client.renew()
            raise
        finally:
            self._free.put(client)

    def close(self) -> None:
        """Wait for running reads, then close every client, the directory's lock last. Blocks; safe to call twice."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._stopping.shutdown(wait=True, cancel_futures=True)
        while self._opened:
            self._opened.pop().close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _open_embedded(target: EmbeddedDsn, readers: int, memory_bytes: int) -> Store:
    directory = target.directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    lock = _lock_directory(directory)
    try:
        config = directory / CONFIG_FILE
        config.write_text(_engine_config(memory_bytes))

        def connect() -> Client:
            return clickhouse_connect.get_client(
                interface="chdb",
                path=str(directory / ENGINE_DIRECTORY),
                # Always explicit: without it the engine would load a config.xml it finds in the working directory.
                chdb_options={"config-file": str(config)},
            )

        return Store(lambda: cast(Client, EmbeddedClient(connect)), readers, lock, embedded=True)
    except BaseException:
        os.close(lock)
        raise


def _open_server(target: ServerDsn, readers: int, request_seconds: float, ca_file: Path | None) -> Store:
    def connect(database: str = target.database) -> Client:
        return clickhouse_connect.get_client(
            host=target.host,
            port=target.port,
            username=target.username,
            password=target.password,
            database=database,
            secure=target.secure,
            ca_cert=str(ca_file) if target.secure and ca_file is not None else None,
            connect_timeout=CONNECT_SECONDS,
            send_receive_timeout=int(request_seconds),
            # Threads may share a connection pool only without server sessions.
            autogenerate_session_id=False,
            settings=dict(cluster.SETTINGS) if target.cluster else {},
        )

    if target.database != "default":
        client = connect("default")
        try:
            client.command(
                f"CREATE DATABASE IF NOT EXISTS {{name:Identifier}}{cluster.on_cluster(target.cluster)}",
                parameters={"name": target.database},
            )
        finally:
            client.close()
    return Store(connect, readers, None, embedded=False, cluster=target.cluster)


def _lock_directory(directory: Path) -> int:
    """Take the directory for this process; the kernel gives it back when the process ends, however it ends."""
    descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise DirectoryInUse(
            f"{directory} is in use by process {owner}: the embedded engine lets one process own a directory. "
            "Stop that process, or use a ClickHouse server (CLICKHOUSE_DSN=clickhouse://...)"
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _engine_config(memory_bytes: int) -> str:
    """Server settings of the embedded engine; its caches are sized for one machine shared with everything else."""
    settings: dict[str, Any] = {
        "max_server_memory_usage": memory_bytes,
        "mark_cache_size": min(256 << 20, memory_bytes // 8),
        "index_mark_cache_size": min(64 << 20, memory_bytes // 16),
        "uncompressed_cache_size": 0,
    }
    body = "".join(f"<{name}>{value}</{name}>" for name, value in settings.items())
    return f"<clickhouse>{body}</clickhouse>\n"
