"""What is fuzzed: a gateway and a sink as processes of their own on a real broker, with their memory and their logs."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

from contracts.dead_letters import SourceRecord
from runtime.settings import KafkaSettings
from tests.fuzz.records import RecordFuzzer
from tests.integration.gateway.harness import KeyFile
from tests.support.broker import Broker
from tests.support.sink_process import SinkUnderTest
from tests.support.waiting import wait_for

SINK_TOKEN = "between-gateway-and-sink"
#: What a log says when something of ours failed.
_TROUBLE = ("call_failed", "query crashed", "Traceback (most recent call last)", "Segmentation fault", "panicked at")


class Target:
    """Started by :func:`target`; ports and processes."""

    def __init__(self, directory: Path, kafka: KafkaSettings) -> None:
        self.keys = KeyFile(directory / "keys.json")
        self.sink = SinkUnderTest(
            kafka,
            directory,
            {
                "SINK_TOKEN": SINK_TOKEN,
                "SINK_GRPC_PORT": "0",
                # Hostile records are what is expected here.
                "SINK_DEAD_LETTERS_ACCEPTED_UNTIL": "2200-01-01T00:00:00Z",
            },
        )
        self.sink.start(role="all")
        self.sink_port = wait_for("the query server", self.sink.grpc_port)
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            two.bind(("127.0.0.1", 0))
            self.grpc_port, self.http_port = one.getsockname()[1], two.getsockname()[1]
        self._log = directory / "gateway.log"
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
            "GATEWAY_KEYS_FILE": str(self.keys.path),
            "GATEWAY_GRPC_PORT": str(self.grpc_port),
            "GATEWAY_HTTP_PORT": str(self.http_port),
            "GATEWAY_SINK_TARGET": f"127.0.0.1:{self.sink_port}",
            "GATEWAY_SINK_TOKEN": SINK_TOKEN,
        }
        with self._log.open("wb") as log:
            self.gateway = subprocess.Popen([sys.executable, "-m", "gateway"], env=environment, stdout=log, stderr=log)
        wait_for("the gateway to be ready", self._ready)

    def _ready(self) -> bool:
        assert self.gateway.poll() is None, self._log.read_text()[-2000:]
        try:
            return httpx.get(f"http://127.0.0.1:{self.http_port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def fill(self, fuzzer: RecordFuzzer, count: int) -> None:
        """Have something to query: records as the processors make them, some of them hostile."""
        topics = self.sink.kafka.topics
        names = {"events.enriched": topics.enriched, "metrics.handoffs": topics.handoffs}
        names |= {"metrics.mcp_calls": topics.mcp_calls, "dead_letters": topics.dead_letters}
        records: list[SourceRecord] = []
        for record in fuzzer.others(count):
            headers = [(name, value) for name, value in record.headers if len(name) < 250]
            topic = names[record.topic.removeprefix("fuzz.")]
            records.append(record._replace(topic=topic, partition=0, headers=tuple(headers)))
        self.sink.produce(records)
        self.sink.wait_committed()

    def processes(self) -> dict[str, psutil.Process]:
        assert self.sink.process is not None
        return {"gateway": psutil.Process(self.gateway.pid), "sink": psutil.Process(self.sink.process.pid)}

    def trouble(self) -> list[str]:
        """Processes that ended, answers they counted that must never be, and lines of their logs that should not be there."""
        found = []
        metrics = httpx.get(f"http://127.0.0.1:{self.http_port}/metrics").text
        counted = re.compile(
            r'^(gateway_requests_total|sink_\w+_total)\{.*code="(INTERNAL|UNKNOWN|5(?!03|04)\d\d)".*$', re.MULTILINE
        )
        found += [f"counted by the gateway: {line[0]}" for line in counted.finditer(metrics)]
        if self.gateway.poll() is not None:
            found.append(f"the gateway ended with {self.gateway.returncode}")
        if self.sink.process is not None and self.sink.process.poll() is not None:
            found.append(f"the sink ended with {self.sink.process.returncode}")
        for name, text in (("gateway", self._log.read_text(errors="replace")), ("sink", self.sink.log)):
            lines = text.splitlines()
            found += [f"{name}: {line[:1500]}" for line in lines if any(word in line for word in _TROUBLE)][:5]
            found += [f"{name} logged what is no JSON: {line[:300]}" for line in lines if not line.startswith("{")][:5]
        return found

    def close(self) -> None:
        """Stop in order."""
        self.gateway.terminate()
        try:
            self.gateway.wait(20)
        except subprocess.TimeoutExpired:
            self.gateway.kill()
        self.sink.close()


@contextlib.contextmanager
def target(directory: Path) -> Iterator[Target]:
    """A broker, a sink and a gateway, for as long as the block lasts."""
    broker = Broker.prepare(directory)
    broker.start()
    try:
        running = Target(directory, broker.create_topics("fuzz.", partitions=2))
        try:
            yield running
        finally:
            running.close()
    finally:
        broker.close()


class MemoryWatch:
    """Samples how much memory processes hold, in a thread."""

    def __init__(self, processes: dict[str, psutil.Process], every: float = 0.25) -> None:
        self._processes = processes
        self._every = every
        self._stop = threading.Event()
        #: Bytes, by process, in the order of time.
        self.samples: dict[str, list[int]] = {name: [] for name in processes}
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._stop.wait(self._every):
            for name, process in self._processes.items():
                with contextlib.suppress(psutil.Error):
                    self.samples[name].append(process.memory_info().rss)

    def stop(self) -> dict[str, tuple[float, float]]:
        """By process: memory of the second half to that of the first (without its first fifth: that is when tables and caches
        fill), and the largest, MiB."""
        self._stop.set()
        self._thread.join()
        found = {}
        for name, samples in self.samples.items():
            warm = samples[len(samples) // 5 :] or [1]
            middle = len(warm) // 2 or 1
            first, second = warm[:middle], warm[middle:] or warm
            ratio = (sum(second) / len(second)) / (sum(first) / len(first))
            found[name] = (ratio, max(samples or [0]) / (1 << 20))
        return found
