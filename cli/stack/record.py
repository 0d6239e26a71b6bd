"""``stack.json``: what runs in a stack's directory, and where. Written by `up` and `down`, read by every other command."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cli.stack.endpoints import STACK_FILE
from cli.stack.processes import started
from runtime.files import write_atomic

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """One start of a stack. After `down`, `pid` is 0 and the rest tells what it was."""

    #: supervisord; together with `pid_started` it names one process for ever.
    pid: int
    pid_started: str
    socket: str
    #: Unix seconds.
    started_at: float
    #: Longest time an orderly stop takes, seconds.
    stop_seconds: int
    #: By the setting that names the port.
    ports: dict[str, int] = field(default_factory=dict)
    #: Status page by process; a process without one is ready when its port is open.
    ready_urls: dict[str, str] = field(default_factory=dict)
    #: `Endpoints` without the key.
    endpoints: dict[str, Any] = field(default_factory=dict)
    version: int = _VERSION

    @property
    def alive(self) -> bool:
        """Whether this start's supervisor runs."""
        return self.pid > 0 and started(self.pid) == self.pid_started

    def stopped(self) -> Record:
        return replace(self, pid=0, pid_started="")

    def save(self, directory: Path) -> None:
        """Raises OSError."""
        write_atomic(directory / STACK_FILE, json.dumps(asdict(self), indent=2) + "\n")


def load_record(directory: Path) -> Record | None:
    """The record, or None when there is none or it is damaged: then the processes' environment tells what runs."""
    try:
        document = json.loads((directory / STACK_FILE).read_text(encoding="utf-8"))
        return Record(**document)
    except (OSError, ValueError, TypeError):
        return None
