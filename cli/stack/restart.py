"""`restart`: one process after the other, each stopped in order and ready again before the next one is stopped.

What an operator does to a running system whose files or settings changed on disk: an upgrade, or a test that clients do not notice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cli.stack.control import Control, ControlUnavailable, ProcessInfo
from cli.stack.directory import exclusive
from cli.stack.errors import StackError
from cli.stack.record import Record, load_record
from cli.stack.ui import Reporter
from cli.stack.watch import wait_ready

#: Programs in the order in which they are restarted: what a process needs comes back before it is restarted itself.
ORDER = ("kafka", "sink", "processors", "gateway")
_POLL_SECONDS = 0.1
_RUNS = ("RUNNING", "STARTING", "STOPPING")


def restart(directory: Path, wanted: Sequence[str], ready_seconds: float, report: Reporter) -> list[str]:
    """Restart the processes of the programs (or the single processes) in `wanted`, all when it is empty; their names.

    After each, waits until the *whole* stack is ready, at most `ready_seconds`. Blocks. Raises StackError: nothing runs, a name
    is unknown, a process does not come back (then the ones after it are not touched).
    """
    if not directory.is_dir():
        raise StackError(f"no stack runs in {directory}: start one with `chaukas-gateway up`")
    with exclusive(directory):
        record = load_record(directory)
        if record is None or not record.alive:
            raise StackError(f"no stack runs in {directory}: start one with `chaukas-gateway up`")
        try:
            names = [info.name for info in chosen(Control(Path(record.socket)).processes(), wanted)]
            for name in names:
                with report.step(f"Restarting {name}", f"{name} is back, everything is ready"):
                    _restart(record, directory, name, ready_seconds)
        except ControlUnavailable as error:
            raise StackError(str(error)) from None
    return names


def chosen(infos: Sequence[ProcessInfo], wanted: Sequence[str]) -> list[ProcessInfo]:
    """The processes that `wanted` names (programs or processes), in the order of their restart. Raises StackError."""
    known = {info.group for info in infos} | {info.name for info in infos}
    if unknown := [name for name in wanted if name not in known]:
        raise StackError(f"no process {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    found = [info for info in infos if not wanted or info.group in wanted or info.name in wanted]
    return sorted(found, key=lambda info: (ORDER.index(info.group), len(info.name), info.name))


def _restart(record: Record, directory: Path, name: str, ready_seconds: float) -> None:
    control = Control(Path(record.socket))
    stopping_until = time.monotonic() + record.stop_seconds
    while (info := _find(control, name)).state in _RUNS:
        if info.state != "STOPPING":
            # It may have left by itself in this moment; the state decides, not the answer.
            with suppress(ControlUnavailable):
                control.stop(info)
        if time.monotonic() > stopping_until:
            raise StackError(f"{name} does not stop")
        time.sleep(_POLL_SECONDS)
    control.start_now(info)
    groups = {one.group for one in control.processes()}
    wait_ready(groups, record, directory, time.monotonic() + ready_seconds)


def _find(control: Control, name: str) -> ProcessInfo:
    return next(info for info in control.processes() if info.name == name)
