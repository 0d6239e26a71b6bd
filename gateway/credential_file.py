"""A file by which callers are known, read again when it changes.

One that cannot be read changes nothing (what was read last stays in force), is logged once, and shows in the readiness and a metric.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from gateway.metrics import GatewayMetrics
from runtime.files import ReloadedFiles
from runtime.health import Readiness
from runtime.logs import get_logger

T = TypeVar("T")

log = get_logger(__name__)


class CredentialFile(Generic[T]):
    """The first of `paths`, and those it is read together with. `read` raises one of `errors`, whose message names no content."""

    def __init__(
        self,
        paths: tuple[Path, ...],
        read: Callable[[], T],
        errors: tuple[type[Exception], ...],
        condition: str,
        readiness: Readiness,
        metrics: GatewayMetrics,
    ) -> None:
        self._file = ReloadedFiles(paths, read, errors, self._refused)
        self._path = paths[0]
        self._condition = condition
        self._readiness = readiness
        self._metrics = metrics

    def changed(self) -> T | None:
        """What it holds now; None when that is what it held, or cannot be read. Blocks for a look, or a read."""
        loaded = self._file.changed()
        if loaded is not None:
            self._readiness.set(self._condition)
        return loaded

    def _refused(self, problem: str, is_new: bool) -> None:
        self._metrics.key_reload_failures.inc()
        if is_new:
            log.error("key_file_unreadable", problem=problem, in_force="what was read before", file=str(self._path))
            self._readiness.set(self._condition, problem)
