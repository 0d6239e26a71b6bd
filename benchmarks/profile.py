"""``make profile``: where the CPU of a hot path goes, sampled in the running process, as shares.

A stack as ``chaukas-gateway up`` starts it, with load; py-spy samples one of its processes 200 times a second, frames of C code
included, and CPU of all its threads is read beside it, because a sampler sees Python's threads only. What is printed, and kept
below ``benchmarks/results/`` (collapsed stacks, for any flame graph):

1. CPU by thread, of the whole process;
2. of the threads that run Python: whose code was running (the innermost frame that is ours or a package's), and the innermost
   functions.

Needs py-spy (``requirements/bench.txt``) and the right to look into other processes (root, or ``kernel.yama.ptrace_scope`` 0).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.gateway_doors import PARTITIONS
from benchmarks.load import processes
from benchmarks.load.plan import Plan
from cli.stack.record import load_record
from tests.support.stack import Stack

SECONDS, RATE_HZ = 12, 200
WARM_SECONDS = 4.0
#: Lines of each table.
SHOWN = 14
OURS = ("gateway", "processors", "sink", "contracts", "runtime")
_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>[^()]*)\)$")


@dataclass(frozen=True)
class HotPath:
    """A hot path: whose process, under which load."""

    process: str
    plan: Plan


_BATCH = Plan("grpc-batch", 0, "", project_id="bench")
PATHS = {
    "gateway-batch": HotPath("gateway-0", _BATCH),
    "gateway-unary": HotPath(
        "gateway-0", replace(_BATCH, kind="grpc-unary", connections=8, in_flight=16, events_per_call=1)
    ),
    # A steady load that both keep up with on two cores, so that it is work that is sampled, not a backlog of one of them.
    "processors": HotPath("processors-0", replace(_BATCH, rate=120.0)),
    "sink": HotPath("sink", replace(_BATCH, rate=120.0)),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=sorted(PATHS), default=list(PATHS))
    options = parser.parse_args()
    report.DIRECTORY.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        stack = Stack(Path(directory), {"STACK_GATEWAYS": "1", "KAFKA_TOPIC_PARTITIONS": str(PARTITIONS)})
        try:
            stack.up()
            for number, name in enumerate(options.only):
                _profile(stack, name, PATHS[name], number)
        finally:
            stack.down()
    return 0


def _profile(stack: Stack, name: str, path: HotPath, number: int) -> None:
    record = load_record(stack.directory)
    assert record is not None
    pid = next(process.pid for process in stack.status().processes if process.process == path.process)
    plan = replace(
        path.plan,
        port=record.ports["GATEWAY_GRPC_PORT"],
        key=stack.endpoints.api_key,
        tenant_id=stack.endpoints.tenant_id,
        seconds=WARM_SECONDS + SECONDS + 2,
        seed=1 + number,
    )
    stacks = report.DIRECTORY / f"profile-{name}.txt"
    with _load(plan):
        time.sleep(WARM_SECONDS)
        before = processes.threads_cpu(pid)
        command = ["record", "--pid", str(pid), "--duration", str(SECONDS), "--rate", str(RATE_HZ), "--native"]
        subprocess.run(
            [Path(sys.executable).with_name("py-spy"), *command, "--format", "raw", "--output", str(stacks)],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        after = processes.threads_cpu(pid)
    threads = Counter({thread: used - before.get(thread, 0.0) for thread, used in after.items()})
    samples = list(_read(stacks))
    _print(f"{name}: CPU by thread", "thread", threads)
    _print(f"{name}: whose code", "code", _by_owner(samples))
    _print(f"{name}: innermost functions", "function", _by_function(samples))


@contextmanager
def _load(plan: Plan) -> Iterator[None]:
    thread = threading.Thread(target=processes.call, args=(plan,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _read(stacks: Path) -> Iterator[tuple[list[str], int]]:
    """Frames from the outermost to the innermost, and how often they were seen."""
    for line in stacks.read_text().splitlines():
        frames, _, count = line.rpartition(" ")
        yield frames.split(";"), int(count)


def _by_owner(samples: list[tuple[list[str], int]]) -> Counter[str]:
    """By the innermost frame that has a Python file: C code counts to who called it."""
    found: Counter[str] = Counter()
    for frames, count in samples:
        owner = next((owner for frame in reversed(frames) if (owner := _owner(frame))), "C code without a caller")
        found[owner] += count
    return found


def _owner(frame: str) -> str:
    match = _FRAME.match(frame)
    if match is None:
        return ""
    file = match["file"].rpartition(":")[0] or match["file"]
    if not file.endswith((".py", ".pyx")):
        return ""
    top = file.split("/")[0]
    if top in OURS:
        return f"{file} {match['function']}"
    return f"{top} (package)"


def _by_function(samples: list[tuple[list[str], int]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for frames, count in samples:
        innermost = re.sub(r":\d+\)$", ")", frames[-1])
        # Without a symbol: the library it is in.
        found[re.sub(r"^0x[0-9a-f]+ ", "", innermost)] += count
    return found


def _print(title: str, what: str, counted: Counter[str]) -> None:
    total = sum(counted.values()) or 1
    table = Table(title=title)
    table.add_column(what)
    table.add_column("share", justify="right")
    for name, count in counted.most_common(SHOWN):
        table.add_row(name, f"{count / total:.1%}")
    rest = total - sum(count for _, count in counted.most_common(SHOWN))
    if rest > 0.005 * total:
        table.add_row("others", f"{rest / total:.1%}")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
