"""Talking to supervisord over its control socket."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

_TIMEOUT_SECONDS = 10.0
#: A process that has lived for so long has got past its settings and its imports.
_UP_SECONDS = 2
#: What supervisord says of any process that left soon after its start: less than the exit status does.
_TOO_QUICK = "Exited too quickly"


class ControlUnavailable(Exception):
    """supervisord does not answer: it is not running, or hangs."""


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process as supervisord sees it. Times in Unix seconds, 0 when it never happened."""

    name: str
    group: str
    #: STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED or FATAL.
    state: str
    pid: int
    start: int
    stop: int
    now: int
    exit_status: int
    spawn_error: str

    @property
    def why_not_running(self) -> str:
        """For a process that left or never started: the reason, for a person."""
        if self.spawn_error and not self.spawn_error.startswith(_TOO_QUICK):
            return self.spawn_error
        return f"it left with exit status {self.exit_status}"

    @property
    def up(self) -> bool:
        """Runs, and did not leave at once. (supervisord calls it STARTING for much longer: see supervisord_conf.)"""
        return self.state == "RUNNING" or (self.state == "STARTING" and self.uptime_seconds >= _UP_SECONDS)

    @property
    def uptime_seconds(self) -> int:
        return max(0, self.now - self.start) if self.state in ("RUNNING", "STARTING") else 0


class Control:
    """supervisord's control interface. Every call blocks up to 10 s and raises :class:`ControlUnavailable`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def processes(self) -> list[ProcessInfo]:
        found = cast("list[dict[str, Any]]", self._call("supervisor.getAllProcessInfo"))
        return [
            ProcessInfo(
                name=entry["name"],
                group=entry["group"],
                state=entry["statename"],
                pid=entry["pid"],
                start=entry["start"],
                stop=entry["stop"],
                now=entry["now"],
                exit_status=entry["exitstatus"],
                spawn_error=entry["spawnerr"],
            )
            for entry in found
        ]

    def pid(self) -> int:
        return cast("int", self._call("supervisor.getPID"))

    def start(self, group: str) -> None:
        """Start all processes of a program; does not wait for them."""
        self._call("supervisor.startProcessGroup", group, False)

    def start_now(self, info: ProcessInfo) -> None:
        """Start a process that waits for its next attempt (or for none any more); its pauses begin anew."""
        name = f"{info.group}:{info.name}"
        if info.state == "BACKOFF":
            self._call("supervisor.stopProcess", name, False)
        self._call("supervisor.startProcess", name, False)

    def stop(self, info: ProcessInfo) -> None:
        """Ask a running process to leave; does not wait for it."""
        self._call("supervisor.stopProcess", f"{info.group}:{info.name}", False)

    def shutdown(self) -> None:
        """Begin to stop everything, in reverse order of priority; supervisord leaves when all is stopped."""
        self._call("supervisor.shutdown")

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = _UnixTransport(self._path)
        try:
            with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
                return getattr(proxy, method)(*arguments)
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise ControlUnavailable(f"the supervisor does not answer on {self._path}: {error}") from None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        return _UnixConnection(self._path)
