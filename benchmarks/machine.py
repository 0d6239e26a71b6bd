"""What figures belong to: the machine, the versions, the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import confluent_kafka
import psutil

from cli.stack.jars import KAFKA_VERSION

_PACKAGES = (
    "grpcio",
    "protobuf",
    "confluent-kafka",
    "faust-streaming",
    "uvicorn",
    "uvloop",
    "pyarrow",
    "ptars",
    "chdb",
)


def describe() -> dict[str, Any]:
    """For the JSON beside every result."""
    return {"machine": _machine(), "versions": _versions(), "commit": _commit()}


def _machine() -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        #: Of the last minute before: what else ran.
        "load_average": os.getloadavg()[0],
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _versions() -> dict[str, str]:
    import chdb  # it brings the engine along: not before it is needed

    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
        "librdkafka": confluent_kafka.libversion()[0],
        "kafka": KAFKA_VERSION,
        "clickhouse": str(chdb.engine_version),
    }


def _commit() -> dict[str, Any]:
    """Empty outside a repository."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
        )
        return done.stdout.strip()

    return {"id": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "--untracked-files=no"))}
