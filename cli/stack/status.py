"""What a stack's processes do right now."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cli.stack import kafka
from cli.stack.control import Control, ControlUnavailable, ProcessInfo
from cli.stack.history import History, last_words, read_history
from cli.stack.plan import log_directory
from cli.stack.probes import Probe, probe
from cli.stack.processes import members
from cli.stack.record import Record

#: Programs in start order, with the settings of their ports.
_PORTS = {
    "kafka": ("STACK_KAFKA_PORT", "STACK_KAFKA_CONTROLLER_PORT"),
    "sink": ("SINK_GRPC_PORT", "SINK_HTTP_PORT"),
    "processors": ("PROCESSORS_HTTP_PORT",),
    "gateway": ("GATEWAY_GRPC_PORT", "GATEWAY_HTTP_PORT", "GATEWAY_STATUS_PORT"),
}
#: Of these, each instance has its own.
_EACH = {"PROCESSORS_HTTP_PORT", "GATEWAY_STATUS_PORT"}


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
    #: It dies again and again.
    crash_loop: bool = False
    #: Ends nobody asked for, in the last ten minutes.
    recent_exits: int = 0
    #: How it ended last (``exit status 1``), when (Unix seconds), and what it logged as the reason; empty when it never did.
    last_exit: str = ""
    last_exit_at: float = 0.0
    last_words: str = ""

    @property
    def up(self) -> bool:
        return self.state == "RUNNING" or (self.state == "STARTING" and self.ready)


@dataclass(frozen=True, slots=True)
class StackStatus:
    """`problem` is empty when the supervisor answers; then `processes` holds every process."""

    directory: Path
    processes: list[ProcessStatus]
    problem: str = ""

    @property
    def ready(self) -> bool:
        """Everything runs and is ready."""
        return not self.problem and bool(self.processes) and all(p.up and p.ready for p in self.processes)

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
    logs = log_directory(directory)
    histories = read_history(logs)
    infos.sort(key=lambda info: (list(_PORTS).index(info.group), len(info.name), info.name))
    return StackStatus(directory, [_status(info, record, histories.get(info.name, History()), logs) for info in infos])


def readiness(name: str, record: Record) -> Probe:
    """Whether a running process is ready."""
    url = record.ready_urls.get(name)
    if url:
        return probe(url)
    port = record.ports["STACK_KAFKA_PORT"]
    return Probe(True) if kafka.is_listening(port) else Probe(False, f"nothing listens on port {port} yet")


def _status(info: ProcessInfo, record: Record, history: History, logs: Path) -> ProcessStatus:
    answer = readiness(info.name, record) if info.up else Probe(False, _why_not(info, history))
    number = int(info.name.rpartition("-")[2]) if "-" in info.name else 0
    waiting = info.state in ("BACKOFF", "EXITED", "FATAL")
    now, last = time.time(), history.exits[-1] if history.exits else None
    return ProcessStatus(
        process=info.name,
        state=info.state,
        ready=answer.ready,
        missing=answer.missing,
        pid=info.pid,
        uptime_seconds=info.uptime_seconds,
        restarts=max(0, history.starts - 1),
        ports={
            name: record.ports[name] + (number if name in _EACH else 0)
            for name in _PORTS[info.group]
            if name in record.ports  # a stack of an earlier version has fewer
        },
        crash_loop=history.crash_loop(waiting=waiting, uptime_seconds=info.uptime_seconds, now=now),
        recent_exits=len(history.recent(now)),
        last_exit=last.how if last else "",
        last_exit_at=last.at if last else 0.0,
        last_words=last_words(logs / f"{info.name}.log") if last else "",
    )


def _why_not(info: ProcessInfo, history: History) -> str:
    if info.state not in ("BACKOFF", "EXITED", "FATAL"):
        return ""
    if info.state == "BACKOFF" and history.exits:
        return f"it left with {history.exits[-1].how}"
    return info.why_not_running
