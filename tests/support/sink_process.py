"""A sink as its own process on a directory of its own, with a look at what it stored."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from contracts.dead_letters import SourceRecord
from runtime.kafka import durable_producer, producer_config
from runtime.settings import KafkaSettings
from tests.support.waiting import wait_for

_LISTENS = "status page listens"

#: The engine lets one process own a directory, and a process one directory: so the look is a process too.
_READ = """
import json, sys
from sink.store import Store
store = Store.open(sys.argv[1], readers=1)
try:
    for sql in sys.argv[2:]:
        rows = store.settler.query(sql).result_rows
        print(json.dumps([list(row) for row in rows], default=str))
finally:
    store.close()
"""


@dataclass
class SinkUnderTest:
    """One data directory and the processes that run on it, one after the other."""

    kafka: KafkaSettings
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    port: int = 0
    #: Of a server; empty: the embedded engine in the directory.
    server: str = ""

    @property
    def group(self) -> str:
        return f"{self.kafka.topic_prefix}sink"

    @property
    def dsn(self) -> str:
        return self.server or f"chdb:///{self.directory / 'clickhouse'}"

    @property
    def log(self) -> str:
        return (self.directory / "sink.log").read_text()

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "TMPDIR": str(self.directory),  # a killed process leaves the block it was inserting as a file
            "CLICKHOUSE_DSN": self.dsn,
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": self.kafka.topic_prefix,
            "SINK_GROUP": self.group,
            "SINK_HTTP_PORT": "0",
            "SINK_BATCH_AGE_SECONDS": "0.1",
            **self.environment,
        }

    def start(self, *, program: str = "", role: str = "writer") -> None:
        """Start it; `program` is Python that runs before it, in its process (to make it fail at a chosen place)."""
        code = f"{program}\nimport sys\nfrom sink.__main__ import main\nsys.exit(main(['--role', {role!r}]))"
        with (self.directory / "sink.log").open("ab") as log:
            before = self.log.count(_LISTENS)
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], env=self._environment(), stdout=log, stderr=log, cwd=Path.cwd()
            )
        wait_for("the status page", lambda: self.log.count(_LISTENS) > before and self._find_port())

    def _find_port(self) -> int:
        lines = [json.loads(line) for line in self.log.splitlines() if _LISTENS in line]
        self.port = lines[-1]["port"] if lines else 0
        return self.port

    def grpc_port(self) -> int:
        """Of the query server; 0 until it listens."""
        lines = [json.loads(line) for line in self.log.splitlines() if "query server listens" in line]
        return int(lines[-1]["port"]) if lines else 0

    def wait_dead(self) -> int:
        """Its exit code, negative for a signal."""
        assert self.process is not None
        return self.process.wait(60)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)

    def close(self) -> None:
        """End it however it stands."""
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def ready(self) -> dict[str, Any]:
        """The readiness page; empty when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            return dict(json.load(error))
        except OSError:
            return {}

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + " ", name + "{")))

    def rows(self, *statements: str) -> list[list[list[Any]]]:
        """The answers to `statements`; of the embedded engine only while no process runs."""
        assert self.server or self.process is None or self.process.poll() is not None
        done = subprocess.run(
            [sys.executable, "-c", _READ, self.dsn, *statements], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]

    def produce(self, records: Sequence[SourceRecord]) -> None:
        """Onto the topics and partitions they name; their offsets are the broker's."""
        config = producer_config(self.kafka, max_message_bytes=4 << 20, delivery_seconds=30, linger_ms=5)
        producer: Producer = durable_producer(config)
        for record in records:
            producer.produce(
                record.topic,
                value=record.value,
                key=record.key,
                partition=record.partition,
                headers=list[tuple[str, str | bytes | None]](record.headers),
            )
        assert producer.flush(30) == 0

    def lag(self) -> int:
        """Records on all topics that the group has not committed."""
        topics = self.kafka.topics
        names = [topics.enriched, topics.handoffs, topics.mcp_calls, topics.dead_letters]
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap_servers, "group.id": self.group})
        try:
            known = consumer.list_topics(timeout=10).topics
            places = [TopicPartition(name, number) for name in names for number in known[name].partitions]
            total = 0
            for place in consumer.committed(places, timeout=10):
                _low, high = consumer.get_watermark_offsets(TopicPartition(place.topic, place.partition), timeout=10)
                total += high - max(place.offset, 0)
            return total
        finally:
            consumer.close()

    def wait_committed(self) -> None:
        """Until the group has committed everything."""
        wait_for("the sink to commit everything", lambda: self.lag() == 0)


_DUMP = """
import sys
from sink.store import Store
store = Store.open(sys.argv[1], readers=1)
try:
    tables = store.settler.query("SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'")
    for (name,) in tables.result_rows:
        content = store.settler.raw_query(f"SELECT * FROM {name} FORMAT TabSeparated")
        sys.stdout.buffer.write(f"{name} {len(content)}\\n".encode() + content + b"\\n")
finally:
    store.close()
"""


def dump_store(directory: Path) -> dict[str, bytes]:
    """Every column of every row that is in the tables of an embedded store (superseded ones too), by table; of a stopped sink."""
    done = subprocess.run(
        [sys.executable, "-c", _DUMP, f"chdb:///{directory}"], capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, bytes] = {}
    rest = done.stdout
    while rest:
        head, _, rest = rest.partition(b"\n")
        name, size = head.split()
        found[name.decode()], rest = rest[: int(size)], rest[int(size) + 1 :]
    return found
