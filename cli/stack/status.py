"""What a stack's processes do right now."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cli.stack import kafka
from cli.stack.control import Control, ControlUnavailable, ProcessInfo
from cli.stack.plan import log_directory
from cli.stack.probes import Probe, probe
from cli.stack.processes import members
from cli.stack.record import Record

_SPAWNED = re.compile(r"INFO spawned: '([^']+)' with pid")
#: Programs in start order, with the settings of their ports.
_PORTS = {
    "kafka": ("STACK_KAFKA_PORT", "STACK_KAFKA_CONTROLLER_PORT"),
    "sink": ("SINK_GRPC_PORT", "SINK_HTTP_PORT"),
    "processors": ("PROCESSORS_HTTP_PORT",),
    "gateway": ("GATEWAY_GRPC_PORT", "GATEWAY_HTTP_PORT"),
}


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One line of `status`."""

    process: str
    state: str
    ready: bool
    #: What it waits for, when it is not ready.
    missing: str
    pid: int
    uptime_seconds: int
    restarts: int
    ports: dict[str, int]


@dataclass(frozen=True, slots=True)
class StackStatus:
    """`problem` is empty when the supervisor answers; then `processes` holds every process."""

    directory: Path
    processes: list[ProcessStatus]
    problem: str = ""

    @property
    def ready(self) -> bool:
        """Everything runs and is ready."""
        return (
            not self.problem and bool(self.processes) and all(p.state == "RUNNING" and p.ready for p in self.processes)
        )

    def to_json(self, record: Record | None) -> dict[str, Any]:
        return {
            "directory": str(self.directory),
            "ready": self.ready,
            "problem": self.problem,
            "endpoints": record.endpoints if record else {},
            "processes": [asdict(process) for process in self.processes],
        }


def collect(directory: Path, record: Record | None) -> StackStatus:
    """Ask the supervisor and every status page. Blocks for a few seconds at worst."""
    if record is None or not record.alive:
        left = members(directory)
        if left:
            return StackStatus(
                directory,
                [],
                f"the supervisor is gone, {len(left)} of its processes are left; run `chaukas-gateway down`",
            )
        return StackStatus(directory, [], f"nothing runs in {directory}; start it with `chaukas-gateway up`")
    try:
        infos = Control(Path(record.socket)).processes()
    except ControlUnavailable as error:
        return StackStatus(directory, [], str(error))
    spawned = _count_spawned(log_directory(directory))
    infos.sort(key=lambda info: (list(_PORTS).index(info.group), len(info.name), info.name))
    return StackStatus(directory, [_status(info, record, spawned[info.name]) for info in infos])


def readiness(name: str, record: Record) -> Probe:
    """Whether a running process is ready."""
    url = record.ready_urls.get(name)
    if url:
        return probe(url)
    port = record.ports["STACK_KAFKA_PORT"]
    return Probe(True) if kafka.is_listening(port) else Probe(False, f"nothing listens on port {port} yet")


def _status(info: ProcessInfo, record: Record, spawned: int) -> ProcessStatus:
    answer = readiness(info.name, record) if info.state == "RUNNING" else Probe(False, _why_not(info))
    number = int(info.name.rpartition("-")[2]) if info.group == "processors" else 0
    return ProcessStatus(
        process=info.name,
        state=info.state,
        ready=answer.ready,
        missing=answer.missing,
        pid=info.pid,
        uptime_seconds=info.uptime_seconds,
        restarts=max(0, spawned - 1),
        ports={name: record.ports[name] + number for name in _PORTS[info.group]},
    )


def _why_not(info: ProcessInfo) -> str:
    return info.why_not_running if info.state in ("BACKOFF", "EXITED", "FATAL") else ""


def _count_spawned(logs: Path) -> Counter[str]:
    """How often each process was started since `up`: supervisord knows only the current one. `up` begins a new log."""
    counts: Counter[str] = Counter()
    for name in ("supervisord.log.1", "supervisord.log"):
        path = logs / name
        if path.exists():
            counts.update(_SPAWNED.findall(path.read_text(encoding="utf-8", errors="replace")))
    return counts
