"""A real Apache Kafka broker in a directory of its own, that tests may kill and start again."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from cli.stack import jars, kafka
from cli.stack.ports import PortRequest, settle
from cli.stack.ui import Reporter
from runtime.settings import KafkaSettings, load
from tests.support.waiting import wait_for


@dataclass
class Broker:
    """``bootstrap_servers`` stays the same across restarts; the data too."""

    directory: Path
    port: int
    controller_port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    def prepare(cls, directory: Path) -> Broker:
        """Jars, free ports and formatted storage; not started. Blocks (downloads on first use)."""
        ports = settle([PortRequest("KAFKA", kafka.HOST, 0), PortRequest("CONTROLLER", kafka.HOST, 0)], {}, auto=True)
        broker = cls(directory, ports["KAFKA"], ports["CONTROLLER"])
        report = Reporter(Console(quiet=True))
        paths = jars.provide(jars.locked_jars(), jars.maven_repository(), jars.fetch_with_jgo, report)
        kafka.write_configuration(directory, paths, broker.port, broker.controller_port)
        kafka.format_storage(directory)
        return broker

    @property
    def bootstrap_servers(self) -> str:
        return f"{kafka.HOST}:{self.port}"

    def settings(self, prefix: str, partitions: int = 4) -> KafkaSettings:
        """Settings of a client with topics of its own."""
        return load(
            KafkaSettings,
            bootstrap_servers=self.bootstrap_servers,
            topic_prefix=prefix,
            topic_partitions=partitions,
        )

    def create_topics(self, prefix: str, partitions: int = 4) -> KafkaSettings:
        settings = self.settings(prefix, partitions)
        kafka.create_topics(settings, time.monotonic() + 60)
        return settings

    def start(self) -> None:
        """Blocks until it accepts connections."""
        with (self.directory / "kafka.log").open("ab") as log:
            self.process = subprocess.Popen(kafka.command(self.directory, 384), stdout=log, stderr=log)
        wait_for("Kafka to listen", lambda: kafka.is_listening(self.port) or self._died())

    def _died(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"Kafka ended: {(self.directory / 'kafka.log').read_text()[-2000:]}")
        return False

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        """In order, or by force after 20 s."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
