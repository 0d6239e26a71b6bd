"""`up` after the start: one line that tells how the stack is, until it is told to stop."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from rich.status import Status
from rich.text import Text

from cli.stack.errors import StackError
from cli.stack.record import load_record
from cli.stack.start import Started
from cli.stack.status import ProcessStatus, StackStatus, collect
from cli.stack.ui import Reporter

_POLL_SECONDS = 1.0


def watch(directory: Path, running: Started, report: Reporter) -> None:
    """Show the state and every change of it. Returns when the stack was stopped by `down`; else until KeyboardInterrupt.

    Raises StackError when the supervisor dies.
    """
    record = running.record
    shown: dict[str, str] = {}
    line = report.console.status("", spinner="dots", refresh_per_second=4) if report.console.is_terminal else None
    holder: AbstractContextManager[object] = line or nullcontext()
    if line is None:
        report.say("Running; stop it with Ctrl-C, SIGTERM or `chaukas-gateway down`.")
    with holder:
        while True:
            if running.supervisor.poll() is not None:
                left = load_record(directory)
                if left is not None and left.pid == 0:
                    report.say("Stopped by another command.")
                    return
                raise StackError("the supervisor died; `chaukas-gateway down` stops what it left behind")
            status = collect(directory, record)
            for text in changes(shown, status.processes):
                report.say(text, style="yellow")
            if line is not None:
                _show(line, status, time.time() - record.started_at)
            time.sleep(_POLL_SECONDS)


def changes(shown: dict[str, str], processes: Iterable[ProcessStatus]) -> list[str]:
    """One line for each process that changed since the last call; `shown` remembers. The first call only remembers."""
    lines = []
    for process in processes:
        now = "ready" if process.ready else f"{process.state.lower()}, not ready"
        now += ", in a crash loop" if process.crash_loop else ""
        now += f" (restarts: {process.restarts})" if process.restarts else ""
        if shown.get(process.process, now) != now:
            missing = f": {process.missing}" if process.missing else ""
            lines.append(f"{time.strftime('%H:%M:%S')} {process.process}: {now}{missing}")
        shown[process.process] = now
    return lines


def _show(line: Status, status: StackStatus, uptime_seconds: float) -> None:
    text = Text()
    for process in status.processes:
        text.append("● ", style="green" if process.ready else "red")
        text.append(f"{process.process}  ")
    text.append(f"up {duration(uptime_seconds)} · Ctrl-C stops everything", style="dim")
    line.update(text)


def duration(seconds: float) -> str:
    """``47s``, ``3m12s``, ``5h04m``, ``2d03h``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"
