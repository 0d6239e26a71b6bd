"""A file by which callers are known, read again when it changes.

One that cannot be read changes nothing (what was read last stays in force), is logged once, and shows in the readiness and a metric.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from gateway.metrics import GatewayMetrics
from runtime.files import version
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
        self._paths = paths
        self._read = read
        self._errors = errors
        self._condition = condition
        self._readiness = readiness
        self._metrics = metrics
        self._version: object = None
        self._problem = ""

    def changed(self) -> T | None:
        """What it holds now; None when that is what it held, or cannot be read. Blocks for a look, or a read."""
        found = version(*self._paths)
        if found == self._version and found[0] is not None:
            return None
        try:
            loaded = self._read()
        except self._errors as error:
            self._metrics.key_reload_failures.inc()
            if str(error) != self._problem:
                self._problem = str(error)
                log.error(
                    "key_file_unreadable",
                    problem=self._problem,
                    in_force="what was read before",
                    file=str(self._paths[0]),
                )
                self._readiness.set(self._condition, self._problem)
            return None
        self._version, self._problem = found, ""
        self._readiness.set(self._condition)
        return loaded
