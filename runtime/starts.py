"""How often this process was started, and how it ended the last time: kept in a small file, shown in its metrics.

| metric | kind | when it moves |
|---|---|---|
| chaukas_process_starts_last_hour | gauge, starts | 1 is a quiet hour; more: it dies and is started again |
| chaukas_process_last_exit_status | gauge | how the run before ended: 0 in order, 75 the stall watchdog, -1 it left no word (killed, out of memory) |

Only where ``…_STARTS_DIR`` names a directory, as the local stack does. A platform that starts containers again counts by itself
(Kubernetes: ``kube_pod_container_status_restarts_total``), and a container keeps no file; there the metrics are absent.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric

from runtime.files import write_atomic

logger = logging.getLogger(__name__)

HOUR_SECONDS = 3600.0
#: Last exit status of a run that noted none.
NO_WORD = -1
#: Runs that are remembered.
_KEPT = 1000

#: Start in Unix seconds, and exit status once it ended and said so.
_Run = tuple[float, int | None]

_current: Starts | None = None


class Starts:
    """The runs of one process, this one included. Files that cannot be read or written are logged, never raised."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        #: [start in Unix seconds, exit status or None] of each run, the latest last.
        self._runs: list[_Run] = [*_read(path)[-_KEPT:], (clock(), None)]
        self._write()

    @property
    def last_exit_status(self) -> int | None:
        """How the run before this one ended; None without one."""
        return _last_exit_status(self._runs)

    def last_hour(self) -> int:
        """Starts within the last hour."""
        return _last_hour(self._runs, self._clock())

    def end(self, status: int) -> None:
        """Note how this run ends."""
        self._runs[-1] = (self._runs[-1][0], status)
        self._write()

    def collect(self) -> Iterator[Metric]:
        """For a registry."""
        return _metrics(self._runs, self._clock())

    def _write(self) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(self._path, json.dumps(self._runs))
        except OSError as error:
            logger.warning("%s cannot be written: %s", self._path, error)


def read(path: Path) -> Iterator[Metric]:
    """The metrics of a process that keeps its runs in `path`, this one or another; none where there is no such file."""
    runs = _read(path)
    return _metrics(runs, time.time()) if runs else iter(())


def begin(directory: Path | None, name: str, registry: CollectorRegistry | None) -> None:
    """Note that this process starts, and show it in `registry` (None: it is shown elsewhere). Does nothing without a directory.

    `name` tells the processes of a directory apart; supervisord's own name for the process goes before it.
    """
    global _current
    if directory is not None:
        _current = Starts(directory / f"{os.environ.get('SUPERVISOR_PROCESS_NAME') or name}.json")
        if registry is not None:
            registry.register(_current)


def note_end(status: int) -> None:
    """Note how this process ends. For every way out that can still speak; does nothing where nothing was begun."""
    if _current is not None:
        _current.end(status)


def _last_hour(runs: Sequence[_Run], now: float) -> int:
    return sum(started > now - HOUR_SECONDS for started, _ in runs)


def _last_exit_status(runs: Sequence[_Run]) -> int | None:
    if len(runs) < 2:
        return None
    status = runs[-2][1]
    return NO_WORD if status is None else status


def _metrics(runs: Sequence[_Run], now: float) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "chaukas_process_starts_last_hour", "Starts of this process in the last hour.", value=_last_hour(runs, now)
    )
    last = _last_exit_status(runs)
    if last is not None:
        yield GaugeMetricFamily(
            "chaukas_process_last_exit_status",
            "Exit status of the run before this one; -1 when it left no word.",
            value=last,
        )


def _read(path: Path) -> list[_Run]:
    try:
        return [
            (float(started), None if status is None else int(status))
            for started, status in json.loads(path.read_text(encoding="utf-8"))
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        logger.warning("%s cannot be read and is begun anew: %s", path, error)
        return []
