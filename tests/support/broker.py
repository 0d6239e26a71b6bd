"""A real Apache Kafka broker in a directory of its own, that tests may kill and start again, and put behind bad networks.

A Kafka client follows the address a broker advertises. So each proxy has a listener of its own behind it, whose advertised
address is the proxy's: a client that starts through a proxy stays behind it, and others are not touched by its faults.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from cli.stack import jars, kafka
from cli.stack.ports import PortRequest, settle
from cli.stack.ui import Reporter
from runtime.settings import KafkaSettings, load
from tests.support.fault_proxy import FaultProxy
from tests.support.waiting import wait_for


@dataclass
class Broker:
    """``bootstrap_servers`` stays the same across restarts; the data too."""

    directory: Path
    port: int
    controller_port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    #: By the names given to :meth:`prepare`.
    proxies: dict[str, FaultProxy] = field(default_factory=dict, repr=False)

    @classmethod
    def prepare(cls, directory: Path, proxied: Sequence[str] = ()) -> Broker:
        """Jars, free ports and formatted storage; not started. Blocks (downloads on first use).

        `proxied` are names (letters) of networks of their own: ``settings(…, through=name)`` connects by ``proxies[name]``.
        """
        names = ["KAFKA", "CONTROLLER", *proxied]
        ports = settle([PortRequest(name, kafka.HOST, 0) for name in names], {}, auto=True)
        broker = cls(directory, ports["KAFKA"], ports["CONTROLLER"])
        report = Reporter(Console(quiet=True))
        paths = jars.provide(jars.locked_jars(), jars.maven_repository(), jars.fetch_with_jgo, report)
        kafka.write_configuration(directory, paths, broker.port, broker.controller_port)
        broker.proxies = {name: FaultProxy(ports[name]) for name in proxied}
        broker._listen_behind_proxies()
        kafka.format_storage(directory)
        return broker

    @property
    def bootstrap_servers(self) -> str:
        return f"{kafka.HOST}:{self.port}"

    def _listen_behind_proxies(self) -> None:
        """Listeners beside the usual two, at the end of ``server.properties``: the last value of a property counts."""
        own = {"PLAINTEXT": self.port, "CONTROLLER": self.controller_port}
        behind = {name.upper(): proxy.target_port for name, proxy in self.proxies.items()}
        advertised = {"PLAINTEXT": self.port} | {name.upper(): proxy.port for name, proxy in self.proxies.items()}
        values = {
            "listeners": ",".join(f"{name}://{kafka.HOST}:{port}" for name, port in (own | behind).items()),
            "advertised.listeners": ",".join(f"{name}://{kafka.HOST}:{port}" for name, port in advertised.items()),
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in own | behind),
            "inter.broker.listener.name": "PLAINTEXT",
        }
        with (self.directory / "server.properties").open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in values.items())

    def settings(self, prefix: str, partitions: int = 4, *, through: str | None = None) -> KafkaSettings:
        """Settings of a client with topics of its own, that connects by the proxy of the name `through` when one is given."""
        proxy = self.proxies[through] if through is not None else None
        return load(
            KafkaSettings,
            bootstrap_servers=self.bootstrap_servers if proxy is None else f"{kafka.HOST}:{proxy.port}",
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
        """In order, or by force after 20 s. Proxies stay until :meth:`close`."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def close(self) -> None:
        """Stop, and close the proxies too. Not to be started again."""
        self.stop()
        for proxy in self.proxies.values():
            proxy.close()
