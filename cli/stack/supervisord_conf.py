"""The configuration of supervisord. It holds no secret: the environment is supervisord's own, which the programs inherit."""

from __future__ import annotations

import resource
import shlex
from collections.abc import Iterable
from pathlib import Path

from cli.stack.plan import Program, log_directory

#: supervisord binds a temporary name, the path plus a process id, and links it; sun_path takes 103 bytes on macOS.
SOCKET_PATH_MAX_BYTES = 90
_WANTED_FILES = 65_536


def socket_path(directory: Path, fallback: Path) -> Path:
    """Where the control socket goes: into the stack's directory, or, where that path is too long for one, to `fallback`."""
    path = directory / "supervisor.sock"
    return path if len(bytes(path)) <= SOCKET_PATH_MAX_BYTES else fallback / "supervisor.sock"


def render(directory: Path, socket: Path, programs: Iterable[Program]) -> str:
    """``supervisord.conf``. Nothing starts by itself: ``up`` starts the programs in their order and waits for each."""
    logs = log_directory(directory)
    lines = [
        "[supervisord]",
        "nodaemon=true",
        f"logfile={_value(logs / 'supervisord.log')}",
        "logfile_maxbytes=10MB",
        "logfile_backups=1",
        f"pidfile={_value(directory / 'supervisord.pid')}",
        f"childlogdir={_value(logs)}",
        f"minfds={_open_files()}",
        "minprocs=1",
        "umask=077",
        "",
        "[unix_http_server]",
        f"file={_value(socket)}",
        "chmod=0700",
        "",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        "",
    ]
    for program in programs:
        lines += _section(program, directory, logs)
    return "\n".join(lines)


def _section(program: Program, directory: Path, logs: Path) -> list[str]:
    name = "%(program_name)s-%(process_num)d" if program.numbered else "%(program_name)s"
    environment = ",".join(f'{key}="{value}"' for key, value in program.environment.items())
    return [
        f"[program:{program.name}]",
        f"command={_value(shlex.join(program.command))}",
        f"process_name={name}",
        f"numprocs={program.instances}",
        f"priority={program.priority}",
        f"directory={_value(directory)}",
        *([f"environment={environment}"] if environment else []),
        "autostart=false",
        "autorestart=true",
        # A process that leaves within `startsecs` is tried again after 1, 2, 3, … seconds, without end: what made it leave (Kafka
        # is away, a flood of dead letters) may be gone at any time. A minute more between two attempts takes half an hour of them.
        f"startsecs={program.steady_seconds}",
        "startretries=1000000",
        "stopsignal=TERM",
        f"stopwaitsecs={program.stop_seconds}",
        "killasgroup=true",
        "redirect_stderr=true",
        f"stdout_logfile={_value(logs)}/{name}.log",
        "stdout_logfile_maxbytes=20MB",
        "stdout_logfile_backups=2",
        "",
    ]


def _value(text: Path | str) -> str:
    """supervisord expands % in every value."""
    return str(text).replace("%", "%%")


def _open_files() -> int:
    """As many as the system lets us raise the limit to: a gateway has a file per connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
