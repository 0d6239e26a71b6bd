"""Letting processes that wait for their next attempt to start try at once."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from cli.stack.control import Control, ControlUnavailable
from cli.stack.record import load_record


def wake(directory: Path, programs: Collection[str], kafka_bootstrap_servers: str) -> list[str]:
    """Start those of `programs` that are in back-off, when a stack runs in `directory` on that Kafka. Returns their names.

    Blocks for up to 10 s per process; never raises: without it they start by themselves, only later.
    """
    record = load_record(directory)
    if record is None or not record.alive:
        return []
    if record.endpoints.get("kafka_bootstrap_servers") != kafka_bootstrap_servers:
        return []
    woken: list[str] = []
    with suppress(ControlUnavailable):
        control = Control(Path(record.socket))
        for info in control.processes():
            if info.group in programs and info.state in ("BACKOFF", "FATAL", "EXITED"):
                control.start_now(info)
                woken.append(info.name)
    return woken
