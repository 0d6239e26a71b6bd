"""The processes of a measurement: gateway, servers that do nothing, callers; and what each used."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.load.plan import Plan, Tally
from contracts import api_keys
from contracts.identity import Scope
from runtime.keyfile import write_keys
from runtime.settings import KafkaSettings
from tests.support.waiting import wait_for

#: librdkafka names its threads; what is counted under this name is all of them.
LIBRDKAFKA = "rdk:"


@dataclass(frozen=True)
class Target:
    """A server to call. `ports` by door: ``grpc``, ``http``."""

    pid: int
    ports: Mapping[str, int]
    key: str

    def cpu_seconds(self) -> float:
        """User and system time so far, of threads that ended too; in steps of 10 ms."""
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system

    def rss_bytes(self) -> int:
        return psutil.Process(self.pid).memory_info().rss


def threads_cpu(pid: int) -> dict[str, float]:
    """CPU seconds of the threads that are alive, added up by name."""
    found: dict[str, float] = {}
    for thread in psutil.Process(pid).threads():
        try:
            name = Path(f"/proc/{pid}/task/{thread.id}/comm").read_text().strip()
        except OSError:
            continue  # it ended
        name = LIBRDKAFKA if name.startswith(LIBRDKAFKA) else name
        found[name] = found.get(name, 0.0) + thread.user_time + thread.system_time
    return found


@contextmanager
def gateway(
    kafka: KafkaSettings, directory: Path, *, tenant_id: str = "bench", environment: Mapping[str, str] | None = None
) -> Iterator[Target]:
    """A gateway process on free ports, ready; ended with the context. `environment` adds settings. Blocks a second or two."""
    key, stored = api_keys.generate(tenant_id, None, [Scope.INGEST])
    write_keys(directory / "keys.json", [stored])
    ports = {"grpc": free_port(), "http": free_port()}
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "GATEWAY_KEYS_FILE": str(directory / "keys.json"),
        "GATEWAY_GRPC_PORT": str(ports["grpc"]),
        "GATEWAY_HTTP_PORT": str(ports["http"]),
        "GATEWAY_LOG_LEVEL": "error",
    }
    process = subprocess.Popen([sys.executable, "-m", "gateway"], env={**os.environ, **settings, **(environment or {})})
    try:
        wait_for("the gateway to be ready", lambda: _is_ready(process, ports["http"]), every=0.1)
        yield Target(process.pid, ports, key)
    finally:
        process.terminate()
        process.wait(30)


def nothing() -> AbstractContextManager[Target]:
    """The servers of :mod:`benchmarks.load.nothing`."""
    return _served("benchmarks.load.nothing")


def bare_gateway(kafka: KafkaSettings) -> AbstractContextManager[Target]:
    """The server of :mod:`benchmarks.load.bare_gateway`."""
    return _served("benchmarks.load.bare_gateway", kafka.bootstrap_servers, kafka.topics.raw)


@contextmanager
def _served(*module_and_arguments: str) -> Iterator[Target]:
    command = [sys.executable, "-m", *module_and_arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        ports = json.loads(process.stdout.readline())
        yield Target(process.pid, ports, "none")
    finally:
        process.stdin.close()
        process.wait(30)


def call(plan: Plan) -> Tally:
    """Runs the callers of `plan` in a process of their own. Blocks until they are done."""
    command = [sys.executable, "-m", "benchmarks.load.caller"]
    done = subprocess.run(command, input=json.dumps(asdict(plan)).encode(), stdout=subprocess.PIPE, check=True)
    return Tally(**json.loads(done.stdout))


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _is_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    if process.poll() is not None:
        raise AssertionError(f"the gateway ended with {process.returncode}")
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False
