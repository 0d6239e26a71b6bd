"""Waiting for processes to be ready, and noticing early that one never will be."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cli.stack.control import Control, ProcessInfo
from cli.stack.errors import StackError
from cli.stack.logs import tail
from cli.stack.plan import log_directory
from cli.stack.record import Record
from cli.stack.status import readiness

_POLL_SECONDS = 0.1
_EXITS_UNTIL_HOPELESS = 3
_SHOWN_LINES = 15
_SHOWN_CHARS = 400


@dataclass(slots=True)
class Exits:
    """Counts how often each process left before it was ready. Pure: fed with what supervisord reports."""

    limit: int = _EXITS_UNTIL_HOPELESS
    _seen: dict[str, set[int]] = field(default_factory=dict)

    def hopeless(self, info: ProcessInfo) -> bool:
        """Whether to give up on the process: it left `limit` times, or supervisord gave up itself."""
        if info.state == "FATAL":
            return True
        if info.state in ("BACKOFF", "EXITED") and info.stop:
            self._seen.setdefault(info.name, set()).add(info.stop)
        return len(self._seen.get(info.name, ())) >= self.limit


def wait_ready(
    groups: set[str],
    record: Record,
    directory: Path,
    deadline: float,
    on_ready: Callable[[str], None] = lambda name: None,
) -> None:
    """Block until every process of `groups` is ready, or `deadline` (monotonic seconds).

    Raises StackError with the last lines of the log of what does not come up, or ControlUnavailable.
    """
    control = Control(Path(record.socket))
    exits = Exits()
    ready: set[str] = set()
    while True:
        infos = [info for info in control.processes() if info.group in groups]
        waiting: dict[str, str] = {}
        for info in infos:
            if exits.hopeless(info):
                raise StackError(_failure(info, directory))
            if info.state not in ("RUNNING", "STARTING"):
                waiting[info.name] = info.why_not_running
                continue
            answer = readiness(info.name, record)
            if not answer.ready or not info.up:
                waiting[info.name] = answer.missing or "has only just started"
            elif info.name not in ready:
                ready.add(info.name)
                on_ready(info.name)
        if not waiting:
            return
        if time.monotonic() >= deadline:
            name, missing = next(iter(waiting.items()))
            raise StackError(
                f"not ready in time (STACK_START_SECONDS): {', '.join(waiting)}\n{name}: {missing}\n{_last_lines(name, directory)}"
            )
        time.sleep(_POLL_SECONDS)


def _failure(info: ProcessInfo, directory: Path) -> str:
    return f"{info.name} does not start: {info.why_not_running}\n{_last_lines(info.name, directory)}"


def _last_lines(name: str, directory: Path) -> str:
    path = log_directory(directory) / f"{name}.log"
    try:
        lines = tail(path, _SHOWN_LINES)
    except OSError:
        lines = []
    if not lines:
        return f"{path} is empty."
    return f"The last lines of {path}:\n" + "\n".join(f"  {line[:_SHOWN_CHARS]}" for line in lines)
