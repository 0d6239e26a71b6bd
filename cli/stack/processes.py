"""Processes of this machine, as the operating system sees them: for a stack whose supervisor was killed.

Every process of a stack has :data:`MARKER` in its environment, with a value that names the stack's directory. So what a dead
supervisor left behind is found by what it is, never by a process id that may belong to somebody else by now.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

MARKER = "STACK_MEMBER_OF"
_PROC = Path("/proc")
#: A killed process that is still there after this long waits in the kernel; nobody can end it.
_KILL_SECONDS = 5.0


def marker_value(directory: Path) -> str:
    """Names the stack in `directory` in its processes' environment."""
    return hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:20]


def members(directory: Path) -> list[int]:
    """Ids of all living processes of the stack in `directory` that this user may see, without the calling one."""
    entry = f"{MARKER}={marker_value(directory)}"
    found = _members_by_proc(entry.encode()) if _PROC.joinpath("self/environ").exists() else _members_by_ps(entry)
    return sorted(pid for pid in found if pid != os.getpid())


def started(pid: int) -> str | None:
    """When `pid` started, in whatever unit the system has; None when there is no such (living) process.

    A process id together with this text names one process for ever.
    """
    try:
        state, *fields = _PROC.joinpath(str(pid), "stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        if _PROC.joinpath("self/stat").exists():
            return None
    except (OSError, ValueError):
        return None
    else:
        return None if state in "ZX" else fields[18]
    return _ps("-o", "lstart=", "-p", str(pid)).strip() or None


def stop_all(directory: Path, *, grace_seconds: float) -> list[int]:
    """SIGTERM to every process of the stack, SIGKILL to what is left after the grace. Blocks until none is left,
    or for a few seconds after the SIGKILL. Returns the ids that were there at first.
    """
    found = members(directory)
    _send(found, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    left = found
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = members(directory)
    deadline = time.monotonic() + _KILL_SECONDS
    while left and time.monotonic() < deadline:
        _send(left, signal.SIGKILL)
        time.sleep(0.05)
        left = members(directory)
    return found


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue  # it left by itself, which is what was wanted


def _members_by_proc(entry: bytes) -> list[int]:
    found = []
    for directory in _PROC.iterdir():
        if not directory.name.isdigit():
            continue
        try:
            environment = directory.joinpath("environ").read_bytes()
        except OSError:
            continue  # gone meanwhile, or another user's
        if entry in environment.split(b"\0"):
            found.append(int(directory.name))
    return found


def _members_by_ps(entry: str) -> list[int]:
    lines = _ps("-E", "-ww", "-x", "-o", "pid=,command=").splitlines()
    return [int(line.split()[0]) for line in lines if entry in line.split()]


def _ps(*arguments: str) -> str:
    program = shutil.which("ps")
    if program is None:
        return ""
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False).stdout  # noqa: S603 - fixed arguments
