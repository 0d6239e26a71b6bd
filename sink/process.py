"""The sink as one process: status page, store, writer, settling and query server, and their orderly end.

The status page comes first, so that a process waiting for its store can say so. A store that is away is waited for; one that
can never work (a directory that another process owns, an edited schema history, a wrong DSN) ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from clickhouse_connect.driver.exceptions import ClickHouseError
from prometheus_client import CollectorRegistry
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from contracts.dead_letters import Stage
from contracts.errors import PermanentError
from runtime import starts, tracing
from runtime.control import accepted_until
from runtime.health import Readiness
from runtime.http import embedded, listen, status_app
from runtime.logs import get_logger
from runtime.settings import KafkaSettings, SinkSettings, TracingSettings
from runtime.settings.sink import SinkRole
from runtime.unread import kafka_unread
from sink import consumer as kafka_consumer
from sink import garbage
from sink.batch import MIN_AGE_SECONDS, BatchPolicy
from sink.consumer import SinkConsumer
from sink.erase import Eraser
from sink.flood import FloodGuard
from sink.letters import LetterProducer
from sink.metrics import SinkMetrics
from sink.migrate import load, migrate
from sink.query.daily import DailyStats
from sink.query.server import QueryServer, serve
from sink.retention import RUNS, Retention
from sink.settle import Settler
from sink.store import Store
from sink.store_admin import StoreAdmin
from sink.store_errors import describe
from sink.tombstones import Erasures
from sink.trouble import Trouble
from sink.watchdog import Pulse, Watchdog
from sink.writer import Writer, arrow_insert

if TYPE_CHECKING:
    from runtime.spans import Tracing

log = get_logger(__name__)

#: Between attempts to reach a store that is away, seconds.
_RECONNECT_SECONDS = 2.0
#: Longest time that the last spans get, seconds.
_SPANS_SECONDS = 2.0
#: After a retention run that failed, seconds.
_RETENTION_RETRY_SECONDS = 600.0
#: A request to a server may take this much longer than the statement in it, seconds.
_REQUEST_MARGIN_SECONDS = 5.0


class SinkProcess:
    """One run of the sink; :meth:`run` returns the exit code."""

    def __init__(
        self,
        settings: SinkSettings,
        kafka: KafkaSettings,
        registry: CollectorRegistry | None = None,
        tracing_settings: TracingSettings | None = None,
    ) -> None:
        """Raises InvalidSettings when tracing is asked for and not installed."""
        self._settings = settings
        self._kafka = kafka
        self._registry = registry or process_registry()
        self._metrics = SinkMetrics(self._registry)
        self._tracing: Tracing | None = None
        if tracing_settings is not None:
            self._tracing = tracing.start(tracing_settings, "sink", 0, self._registry)
        self._readiness = Readiness()
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        #: Of a process that writes: what its inserts go by.
        self._erasures: Erasures | None = None

    async def run(self, *, migrate_only: bool = False) -> int:
        """Until SIGTERM or SIGINT (then 0), or until a part of it fails (then 1)."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        self._readiness.set("store", "not open yet")
        if self._settings.role is not SinkRole.QUERY and not migrate_only:
            self._readiness.set("kafka", "no partitions assigned yet")
        async with self._status_page():
            store = await self._open_store()
            if store is None:  # whoever asked for the schema must not think that it is there
                return 1 if self._failure or migrate_only else 0
            try:
                if not migrate_only:
                    await self._work(store)
            finally:
                await self._close(store)
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close, _SPANS_SECONDS)
        return 1 if self._failure else 0

    async def _open_store(self) -> Store | None:
        """The open, migrated store; None when the process is to end first."""
        while not self._stopping.is_set():
            try:
                return await asyncio.to_thread(self._open_and_migrate)
            except PermanentError as error:
                self._failure = error
                log.error("the store cannot be used", problem=str(error))
                return None
            except (ClickHouseError, OSError) as error:
                self._readiness.set("store", f"does not answer: {describe(error)}")
                log.warning("waiting for the store", error=describe(error))
                with contextlib.suppress(TimeoutError):
                    delay = _RECONNECT_SECONDS * (0.5 + random.random())  # noqa: S311 - spreads load, guards nothing
                    await asyncio.wait_for(self._stopping.wait(), delay)
        return None

    def _open_and_migrate(self) -> Store:
        settings = self._settings
        store = Store.open(
            settings.clickhouse_dsn.get_secret_value(),
            readers=settings.query_clients,
            request_seconds=max(settings.insert_timeout_seconds, settings.query_timeout_seconds)
            + _REQUEST_MARGIN_SECONDS,
            memory_bytes=settings.memory_max_bytes,
            ca_file=settings.clickhouse_ca_file,
        )
        try:
            migrate(store.settler, cluster=store.cluster)
        except BaseException:
            store.close()
            raise
        self._metrics.schema_version.set(load()[-1].version)
        self._readiness.set("store")
        return store

    async def _work(self, store: Store) -> None:
        """Run the parts of this role until the process is to stop, then stop them in order."""
        role, grace = self._settings.role, self._settings.shutdown_seconds
        queries: QueryServer | None = None
        writing: Writing | None = None
        settling: asyncio.Task[None] | None = None
        watchdog: Watchdog | None = None
        try:
            if role is not SinkRole.QUERY:
                pulse = Pulse()
                self._erasures = Erasures(store.writer)
                writing = Writing(self._consumer(store, pulse), self._on_writer_end)
                watchdog = self._watchdog(pulse)
                watchdog.start()
                settling = asyncio.create_task(self._settle(store))
            if role is not SinkRole.WRITER:
                subject_paths = self._settings.subject_paths.split()
                admin = StoreAdmin(store, store.cluster, self._settings.retention_days, self._erasures, subject_paths)
                queries = await serve(store, self._settings, self._readiness, self._registry, admin, self._tracing)
            await self._stopping.wait()
        except OSError as error:
            self._fail(error)
            log.error("cannot start", problem=str(error))
        finally:
            self._stopping.set()
            deadline = threading.Timer(grace, _leave_anyway)
            deadline.daemon = True
            deadline.start()
            if watchdog is not None:
                watchdog.stop()
            if writing is not None:
                writing.stop()
            if queries is not None:
                await queries.stop(grace / 2)
            if settling is not None:
                await settling
            if writing is not None:
                await writing.ended()
            deadline.cancel()

    def _watchdog(self, pulse: Pulse) -> Watchdog:
        return Watchdog(
            pulse,
            kafka_unread(self._kafka),
            stall_seconds=self._settings.stall_seconds,
            insert_seconds=self._settings.insert_timeout_seconds,
            show=self._metrics.stalled_seconds.set,
        )

    def _consumer(self, store: Store, pulse: Pulse) -> SinkConsumer:
        settings = self._settings
        ask = accepted_until(self._kafka, Stage.SINK, settings.accepted_until_ms)
        flood = FloodGuard(settings.accepted_until_ms, ask, self._metrics.dead_letter_alarms.inc)
        writer = Writer(
            arrow_insert(store.writer, settings.insert_timeout_seconds),
            LetterProducer.connect(self._kafka),
            self._metrics,
            flood=flood,
            pulse=pulse,
            erasures=self._erasures,
            tracing=self._tracing,
        )
        return kafka_consumer.build(
            self._kafka,
            self._kafka.group(settings.group, "chaukas-sink"),
            writer,
            BatchPolicy(settings.batch_rows, settings.batch_bytes, settings.batch_age_seconds, MIN_AGE_SECONDS),
            self._metrics,
            self._readiness,
            # The process is given shutdown_seconds; the commit and the rest need some of it.
            revoke_seconds=settings.shutdown_seconds * 0.7,
            flood=flood,
            pulse=pulse,
            # The embedded engine has one writer; it is known under one name.
            instance="embedded" if store.embedded else "",
        )

    async def _settle(self, store: Store) -> None:
        """Passes, often enough that a copy is settled within SINK_SETTLE_SECONDS even if one pass fails.

        After each, days at rest are counted for statistics, on the same thread and client, and cycles are collected.
        """
        margin = self._settings.insert_timeout_seconds + _REQUEST_MARGIN_SECONDS
        settler = Settler(store.settler, self._metrics, margin_seconds=margin)
        daily = DailyStats(store.settler, margin_seconds=margin)
        retention = Retention(store.settler, store.cluster, self._settings.retention_days)
        eraser = Eraser(store.settler, store.cluster, self._erasures)
        next_run = 0.0
        # A store that is away fails them every second: said when it begins, and when something else is wrong.
        settling, counting, sweeping = map(Trouble, ("settling", "counting days", "looking after erasures"))
        while not self._stopping.is_set():
            try:
                await asyncio.to_thread(_settle_alone, settler)
                settling.over()
            except (ClickHouseError, OSError) as error:
                self._metrics.settle_failures.inc()
                settling.tell(describe(error))
            try:
                await asyncio.to_thread(daily.refresh)
                counting.over()
            except (ClickHouseError, OSError) as error:
                counting.tell(describe(error))
            try:
                await asyncio.to_thread(eraser.sweep)
                sweeping.over()
            except (ClickHouseError, OSError) as error:
                sweeping.tell(describe(error))
            if (now := asyncio.get_running_loop().time()) >= next_run:
                next_run = now + self._settings.retention_run_hours * 3600
                try:
                    await asyncio.to_thread(retention.run)
                except (ClickHouseError, OSError) as error:
                    next_run = now + _RETENTION_RETRY_SECONDS
                    log.warning("retention failed and will be repeated", error=describe(error))
            garbage.collect()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._settings.settle_seconds / 3)

    def _on_writer_end(self, error: BaseException | None) -> None:
        if error is not None:
            self._fail(error)
            log.error("the writer ended", error=f"{type(error).__name__}: {error}")
        self._stopping.set()

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error

    async def _close(self, store: Store) -> None:
        """Let what runs end, then close: an exit during a query crashes the embedded engine."""
        await asyncio.to_thread(store.close)
        log.info("store closed")

    @contextlib.asynccontextmanager
    async def _status_page(self) -> AsyncIterator[None]:
        sock = listen(self._settings.http_host, self._settings.http_port)
        server = embedded(status_app(self._registry, self._readiness))
        serving = asyncio.create_task(server.serve(sockets=[sock]))
        log.info("status page listens", host=self._settings.http_host, port=sock.getsockname()[1])
        try:
            yield
        finally:
            server.should_exit = True
            await serving
            sock.close()


class Writing:
    """The consumer on its thread."""

    def __init__(self, consumer: SinkConsumer, on_end: Callable[[BaseException | None], None]) -> None:
        self._consumer = consumer
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sink-consume")
        self._run = self._loop.run_in_executor(self._thread, consumer.run)
        self._run.add_done_callback(lambda done: on_end(done.exception()))

    def stop(self) -> None:
        """Ask it to finish the running insert, commit and leave the group."""
        self._consumer.stop()

    async def ended(self) -> None:
        """Wait for that."""
        await asyncio.wait([self._run])
        self._thread.shutdown()


def process_registry() -> CollectorRegistry:
    """A registry with the metrics every process has (memory, CPU, open files, garbage collection)."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def _settle_alone(settler: Settler) -> None:
    """A pass moves payloads from table to table: not while they are being erased."""
    with RUNS:
        settler.settle()


def _leave_anyway() -> None:
    """The stop takes too long: everything acknowledged is on disk, the rest will be read again."""
    log.error("not stopped in SINK_SHUTDOWN_SECONDS; leaving anyway")
    starts.note_end(1)
    os._exit(1)
