"""The whole system for trials of failures: several gateways and processors under the product's own supervisor.

Kafka is reached through a proxy in the test, so that the network to it can be broken; the store is the embedded engine, or an
engine behind a server's HTTP interface whose answers can be broken too.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition

from cli.stack.control import Control, ControlUnavailable
from cli.stack.record import load_record
from runtime.settings import KafkaSettings, load
from tests.conservation.store import FaultyStore
from tests.support.fault_proxy import PASS, FaultProxy
from tests.support.processors import free_port
from tests.support.stack import Stack
from tests.support.waiting import wait_for

GATEWAYS = 2
PROCESSORS = 3
PARTITIONS = 6
#: Programs whose processes fail by themselves; Kafka only where a fault says so.
SERVICES = ("gateway", "processors", "sink")
#: Every port free, so that systems run side by side; Kafka's own is chosen by the trial, because a proxy stands before it.
_FREE_PORTS = (
    "STACK_KAFKA_CONTROLLER_PORT",
    "GATEWAY_GRPC_PORT",
    "GATEWAY_HTTP_PORT",
    "SINK_GRPC_PORT",
    "SINK_HTTP_PORT",
    "PROCESSORS_HTTP_PORT",
)
_ENVIRONMENT = {
    "STACK_PORTS": "fixed",
    "STACK_GATEWAYS": str(GATEWAYS),
    "STACK_PROCESSORS": str(PROCESSORS),
    # Trials kill the same process again and again: its pauses must not grow by that.
    "STACK_STEADY_SECONDS": "2",
    "KAFKA_TOPIC_PARTITIONS": str(PARTITIONS),
    # Shorter than in production, so that a trial of minutes sees what takes hours there.
    "PROCESSORS_SESSION_SECONDS": "6",
    "PROCESSORS_SHUTDOWN_SECONDS": "8",
    "SINK_SETTLE_SECONDS": "3",
    "SINK_INSERT_TIMEOUT_SECONDS": "8",
    "SINK_SHUTDOWN_SECONDS": "8",
    "GATEWAY_SHUTDOWN_SECONDS": "8",
}
_TRACE = re.compile(r"Traceback \(most recent call last\)|Unhandled exception|Fatal Python error")


@dataclass(frozen=True)
class ForeignRecord:
    """A record that a trial wrote past the product: it must become a dead letter."""

    topic: str
    partition: int
    offset: int
    value: bytes


@dataclass
class System(Stack):
    """A stack that trials break. Use :func:`running`."""

    proxy: FaultProxy | None = None
    store: FaultyStore | None = None
    foreign: list[ForeignRecord] = field(default_factory=list)
    #: Harms to the network, or to the store, happen one after the other: each is taken back before the next.
    network_lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    store_lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    # ---------------------------------------------------------------- processes

    def stop_process(self, name: str) -> None:
        """Stop a process in order, until :meth:`start_process`. Blocks until it left: longer than the supervisor may be asked to."""
        self._ask("supervisor.stopProcess", name)
        wait_for(
            f"{name} to leave",
            lambda: any(one.process == name and one.pid == 0 for one in self.status().processes),
            every=0.2,
        )

    def start_process(self, name: str) -> None:
        """Start a stopped one; does not wait until it is ready."""
        self._ask("supervisor.startProcess", name)

    def stop_program(self, program: str) -> None:
        for name in self.pids(program):
            self.stop_process(name)

    def start_program(self, program: str) -> None:
        for name in self.pids(program):
            self.start_process(name)

    def _ask(self, method: str, name: str) -> None:
        record = load_record(self.directory)
        assert record is not None
        program = re.sub(r"-\d+$", "", name)
        try:
            Control(Path(record.socket))._call(method, f"{program}:{name}", False)
        except ControlUnavailable as error:
            # What a kill of a moment ago did in the meantime is as good.
            if not re.search(r"NOT_RUNNING|ALREADY_STARTED|ABNORMAL_TERMINATION", str(error)):
                raise

    def restarts(self) -> dict[str, int]:
        return {one.process: one.restarts for one in self.status().processes}

    def wait_calm(self, seconds: float = 8.0) -> Counter[str]:
        """Wait until all are ready, then see that nobody leaves for so long; restarts meanwhile by process."""
        self.wait_ready(180)
        before = self.restarts()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(0.5)
        return Counter(
            {name: n - before.get(name, 0) for name, n in self.restarts().items() if n > before.get(name, 0)}
        )

    def traces(self) -> list[str]:
        """Stack traces in the services' logs: the process and the lines from there on."""
        found = []
        for log in sorted((self.directory / "logs").glob("*.log*")):
            if not log.name.startswith(SERVICES):
                continue
            text = log.read_text(errors="replace")
            found += [f"{log.name}: {text[match.start() :][:1500]}" for match in _TRACE.finditer(text)]
        return found

    # ---------------------------------------------------------------- Kafka

    @property
    def kafka(self) -> KafkaSettings:
        return load(
            KafkaSettings,
            bootstrap_servers=self.endpoints.kafka_bootstrap_servers,
            topic_partitions=PARTITIONS,
        )

    def ends(self, topic: str) -> dict[int, int]:
        """The end offset of each partition."""
        with consumer(self.kafka, "conservation") as client:
            return _ends(client, topic)

    def lag(self) -> dict[str, int]:
        """Records that the groups have not committed, by topic."""
        topics = self.kafka.topics
        groups = {
            "chaukas-processors": [topics.raw],
            "chaukas-sink": [topics.enriched, topics.handoffs, topics.mcp_calls, topics.dead_letters],
        }
        found: dict[str, int] = {}
        for group, names in groups.items():
            with consumer(self.kafka, group) as client:
                for name in names:
                    ends = _ends(client, name)
                    committed = client.committed([TopicPartition(name, n) for n in ends], timeout=20)
                    found[name] = sum(ends[place.partition] - max(0, place.offset) for place in committed)
        return found

    def wait_drained(self, seconds: float = 240) -> None:
        """Until every consumer has committed everything there is."""

        def probe() -> bool:
            try:
                return not any(self.lag().values())
            except KafkaException:
                return False

        try:
            wait_for("consumer lag 0", probe, seconds=seconds, every=0.3)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.lag()}") from None


@contextmanager
def consumer(kafka: KafkaSettings, group: str) -> Iterator[Consumer]:
    """A client that reads what it is told and joins no group."""
    client = Consumer(
        {**kafka.client_config({}), "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    )
    try:
        yield client
    finally:
        client.close()


def _ends(client: Consumer, topic: str) -> dict[int, int]:
    numbers = client.list_topics(topic, timeout=20).topics[topic].partitions
    return {n: client.get_watermark_offsets(TopicPartition(topic, n), timeout=20)[1] for n in numbers}


@contextmanager
def running(directory: Path, *, server_store: bool = False, **environment: str) -> Iterator[System]:
    """A system that is ready; nothing of it is left afterwards. `environment` adds to the processes' own."""
    port = free_port()
    proxy = FaultProxy(port)
    store: FaultyStore | None = None
    own: Mapping[str, str] = {
        **_ENVIRONMENT,
        **dict.fromkeys(_FREE_PORTS, "0"),
        "STACK_KAFKA_PORT": str(port),
        "STACK_KAFKA_ADVERTISED_PORT": str(proxy.port),
        # Hundreds of starts: compiled modules are kept, outside the checkout.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(directory / "pycache"),
        **environment,
    }
    system = System(directory / "stack", dict(own), proxy=proxy)
    try:
        if server_store:
            (directory / "store").mkdir(parents=True)
            system.store = store = FaultyStore(directory / "store")
            store.start()
            system.environment["STACK_CLICKHOUSE_DSN"] = store.stack_dsn
        system.up()
        yield system
    finally:
        proxy.set(PASS)
        if (directory / "stack").exists():
            system.cli("down", check=False)
        if store is not None:
            store.kill()
        proxy.close()
