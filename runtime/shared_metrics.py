"""Metrics of several processes that share a port: any of them shows the page of all.

Each process keeps its values in files of one directory (prometheus_client's multiprocess mode) and adds all of them up when it is
asked. A process is known by a name that its successor takes over (``gateway-0``), so the successor goes on counting where it
ended and no sum ever falls. Who lives is told by a lock that every process holds until it ends, however it ends. The directory
is made anew with each start of the whole (the local stack does so).

| metric | kind | when it moves |
|---|---|---|
| process_… {process} | as prometheus_client's | CPU, memory, files of each live process: the load is spread evenly or is not |
| chaukas_process_… {process} | as :mod:`runtime.starts` | one of them dies and is started again |
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from prometheus_client import CollectorRegistry, mmap_dict, multiprocess, values
from prometheus_client.core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from runtime import starts
from runtime.logs import get_logger

log = get_logger(__name__)

# prometheus_client says nothing of their types.
_mmap_dict: Any = mmap_dict
_multiprocess: Any = multiprocess
_values: Any = values

#: Where prometheus_client looks for the directory.
_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
#: A predecessor that is about to end gets this, seconds.
_WAIT_SECONDS = 5.0
#: A file may be looked at in the moment in which it is made.
_ATTEMPTS = 5
_HALF_MADE = (struct.error, RuntimeError, FileNotFoundError, UnicodeDecodeError)


class NameTaken(Exception):
    """Another living process has that name."""


class SharedMetrics:
    """One process's membership, for its whole life. To be made before its first metric."""

    def __init__(self, directory: Path, program: str, number: int, *, wait_seconds: float = _WAIT_SECONDS) -> None:
        """Blocks for up to `wait_seconds` while another process has that name; then raises :class:`NameTaken`. Raises OSError."""
        self.directory = directory
        self.program = program
        self.name = f"{program}-{number}"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = self._take_name(wait_seconds)
        _multiprocess.mark_process_dead(self.name, str(directory))  # what the predecessor held
        self._drop_damaged()
        os.environ[_VARIABLE] = str(directory)
        _values.ValueClass = _values.MultiProcessValue(lambda: self.name)

    def page(self, starts_directory: Path | None = None) -> CollectorRegistry:
        """What ``/metrics`` shows: the sums, and each process's own CPU, memory and starts under its name."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Sums(self))
        registry.register(_Processes(self, starts_directory))
        PlatformCollector(registry=registry)
        return registry

    def living(self) -> dict[str, int]:
        """Process id by name of those that hold their locks. Gauges of the others are forgotten. Reads a few small files."""
        found: dict[str, int] = {}
        for path in sorted(self.directory.glob(f"{self.program}-*.lock")):
            if path.stem == self.name:
                found[self.name] = os.getpid()
            elif pid := self._holder(path):
                found[path.stem] = pid
        return found

    def close(self) -> None:
        """Leave. The operating system does the same when the process ends."""
        self._lock.close()

    def _take_name(self, wait_seconds: float) -> IO[str]:
        lock = (self.directory / f"{self.name}.lock").open("a+")
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock.close()
                    raise NameTaken(f"another process is {self.name} in {self.directory}") from None
                time.sleep(0.05)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    def _holder(self, path: Path) -> int:
        """Process id of who holds the lock; 0 when nobody does."""
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read() or 0)  # 0: it has only just taken the lock
            # A successor cannot begin before this is over: it waits for the lock.
            _multiprocess.mark_process_dead(path.stem, str(self.directory))
            return 0

    def _drop_damaged(self) -> None:
        """A file that cannot be read (a full disk, a machine that went down) would keep the process from starting."""
        for path in self.directory.glob(f"*_{self.name}.db"):
            try:
                list(_mmap_dict.MmapedDict.read_all_values_from_file(str(path)))
            except _HALF_MADE as error:
                log.warning("metrics_begun_anew", file=path.name, problem=str(error))
                path.unlink(missing_ok=True)


class _Sums:
    def __init__(self, shared: SharedMetrics) -> None:
        self._shared = shared
        self._collector = _multiprocess.MultiProcessCollector(None, path=str(shared.directory))

    def collect(self) -> Iterable[Metric]:
        self._shared.living()
        for attempt in range(_ATTEMPTS):
            try:
                found: Iterable[Metric] = self._collector.collect()
                return found
            except _HALF_MADE:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(0.002)
        raise AssertionError("not reached")


class _Processes:
    def __init__(self, shared: SharedMetrics, starts_directory: Path | None) -> None:
        self._shared = shared
        self._starts = starts_directory

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for name, pid in self._shared.living().items():
            for metric in self._of(name, pid):
                family = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    family.samples.append(sample._replace(labels={**sample.labels, "process": name}))
        yield from families.values()

    def _of(self, name: str, pid: int) -> Iterator[Any]:
        yield from ProcessCollector(pid=lambda: pid, registry=None).collect()
        if self._starts is not None:
            yield from starts.read(self._starts / f"{name}.json")
