"""``make profile``: where the CPU of a hot path goes, sampled in the running process, as shares.

A stack as ``chaukas-gateway up`` starts it, with load; py-spy samples one of its processes, CPU of all its threads is read beside
it, because a sampler sees Python's threads only. What is printed, and kept below ``benchmarks/results/`` (collapsed stacks, for any
flame graph):

1. CPU by thread, of the whole process;
2. of the threads that run Python, while they run: whose function it is, ours by name; C code counts to the Python function that
   called it (the event loop's, gRPC's and uvloop's own to ``asyncio``, which started it);
3. the same by library, of samples whose innermost C function has a name and does not wait: which of them is it.

Needs py-spy (``requirements/bench.txt``) and the right to look into other processes (root, or ``kernel.yama.ptrace_scope`` 0).
"""

from __future__ import annotations

import argparse
import re
import signal
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

SECONDS, NATIVE_SECONDS, RATE_HZ = 10, 8, 200
WARM_SECONDS = 4.0
#: Lines of each table.
SHOWN = 14
OURS = ("gateway", "processors", "sink", "contracts", "runtime")
#: Innermost functions that wait, or of which nobody knows whether they do.
_WAITS = re.compile(r"^((epoll_p?wait|syscall|poll|select|pthread_\w+|sem_\w+) |0x[0-9a-f]+ \(libc\.)")
#: Innermost Python frames that wait, which the sampler takes for busy now and then; a thread's own ``run`` is C code that polls.
_PARKED = re.compile(r"^(Condition\.wait|Event\.wait|Thread\.run) \(threading\.py|^_worker \(concurrent/")
#: What the kernel does for us.
_KERNEL = {
    "sendmsg",
    "send",
    "write",
    "writev",
    "recvmsg",
    "recv",
    "read",
    "fdatasync",
    "fsync",
    "openat",
    "close",
    "epoll_ctl",
}
_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>[^()]*)\)$")


#: Frames from the outermost to the innermost, and how often they were seen.
Sample = tuple[list[str], int]


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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
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
        seconds=WARM_SECONDS + SECONDS + NATIVE_SECONDS + 4,
        seed=1 + number,
    )
    with _load(plan):
        time.sleep(WARM_SECONDS)
        before = processes.threads_cpu(pid)
        samples = _record(pid, f"profile-{name}", SECONDS)
        after = processes.threads_cpu(pid)
        native = _record(pid, f"profile-{name}-native", NATIVE_SECONDS, "--native")
    threads = Counter({thread: used - before.get(thread, 0.0) for thread, used in after.items()})
    _print(f"{name}: CPU by thread", "thread", threads)
    _print(f"{name}: whose code", "code", _by_owner(samples))
    _print(f"{name}: which library", "library", _by_library(native))


def _record(pid: int, name: str, seconds: int, *options: str) -> list[Sample]:
    path = report.DIRECTORY / f"{name}.txt"
    command = ["record", "--pid", str(pid), "--duration", str(seconds), "--rate", str(RATE_HZ), *options]
    subprocess.run(
        [Path(sys.executable).with_name("py-spy"), *command, "--format", "raw", "--output", str(path)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return list(_read(path))


@contextmanager
def _load(plan: Plan) -> Iterator[None]:
    thread = threading.Thread(target=processes.call, args=(plan,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _read(stacks: Path) -> Iterator[Sample]:
    for line in stacks.read_text().splitlines():
        frames, _, count = line.rpartition(" ")
        yield frames.split(";"), int(count)


def _by_owner(samples: list[Sample]) -> Counter[str]:
    found: Counter[str] = Counter()
    for frames, count in samples:
        if not _PARKED.match(frames[-1]):
            found[_owner(frames[-1])] += count
    return found


def _owner(frame: str) -> str:
    match = _FRAME.match(frame)
    if match is None:
        return frame
    file = match["file"].rpartition(":")[0] or match["file"]
    top = file.split("/")[0]
    if top == "asyncio":
        return "the event loop: uvloop's, gRPC's and the kernel's code"
    return f"{file} {match['function']}" if top in OURS else f"{top} (package)"


def _by_library(samples: list[Sample]) -> Counter[str]:
    found: Counter[str] = Counter()
    for frames, count in samples:
        match = _FRAME.match(frames[-1])
        if match is None or _WAITS.match(frames[-1]):
            continue
        file = match["file"].rpartition(":")[0] or match["file"]
        if match["function"] in _KERNEL:
            found["the kernel (sending, receiving, writing)"] += count
        elif file.endswith(".py"):
            found["Python code, interpreted"] += count
        elif ".so" in file:
            found[file.split("/")[-1].split(".")[0]] += count
        else:  # a file of C code without a path: the interpreter's, or an extension's with debug information
            found["C code of the interpreter and extensions"] += count
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
