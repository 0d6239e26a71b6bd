"""Several gateway processes on one port: connections spread, one leaves and comes back, any page tells of all."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2
from chaukas.spec.server.v1.server_pb2_grpc import ChaukasServerServiceStub
from prometheus_client.parser import text_string_to_metric_families

from cli.client import errors
from cli.stack.ports import PortRequest, settle
from runtime.settings import KafkaSettings, load
from tests.integration.gateway.harness import TENANT, KeyFile, RawTopic, batch_request
from tests.integration.gateway.process import Process
from tests.support.events import event
from tests.support.waiting import wait_for

CLIENTS = 8


class Pair:
    """Two places for processes that share their ports and a directory of metrics."""

    def __init__(self, kafka: KafkaSettings, directory: Path, **environment: str) -> None:
        self.keys = KeyFile(directory / "keys.json")
        # Two in a row, from a range that no port of 0 is taken from.
        self.status_port = settle([PortRequest("STATUS", "127.0.0.1", 0, span=2)], {}, auto=True)["STATUS"]
        self._first = Process(
            kafka,
            self.keys,
            GATEWAY_METRICS_DIR=str(directory / "metrics"),
            GATEWAY_STATUS_PORT=str(self.status_port),
            GATEWAY_INSTANCE="0",
            **environment,
        )
        self.processes: dict[int, subprocess.Popen[str]] = {0: self._first.process}
        self.grpc_port, self.grpc_target, self.url = self._first.grpc_port, self._first.grpc_target, self._first.url

    def start(self, number: int) -> None:
        self._first.environment["GATEWAY_INSTANCE"] = str(number)
        self.processes[number] = self._first.spawn()

    def status(self, number: int, page: str) -> httpx.Response | None:
        """A page of that process alone; None while it does not listen."""
        assert self.processes[number].poll() is None, self.processes[number].communicate()[1]
        try:
            return httpx.get(f"http://127.0.0.1:{self.status_port + number}/{page}", timeout=10)
        except httpx.TransportError:
            return None

    def wait(self, number: int, page: str = "healthz") -> None:
        def answers() -> bool:
            answer = self.status(number, page)
            return answer is not None and answer.status_code == 200

        wait_for(f"process {number} to answer /{page}", answers, every=0.1)

    def connections(self, number: int) -> int:
        """gRPC connections that process serves."""
        found = psutil.Process(self.processes[number].pid).net_connections("tcp")
        return sum(one.status == psutil.CONN_ESTABLISHED and one.laddr.port == self.grpc_port for one in found)

    def kill(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.communicate()


@contextmanager
def pair(kafka: KafkaSettings, directory: Path, **environment: str) -> Iterator[Pair]:
    made = Pair(kafka, directory, **environment)
    try:
        yield made
    finally:
        made.kill()


@pytest.fixture
def channels(request: pytest.FixtureRequest) -> Iterator[list[Any]]:
    made: list[Any] = []
    yield made
    for channel in made:
        channel.close()


def test_connections_move_to_a_process_that_came_later(tmp_path: Path, channels: list[Any]) -> None:
    away = load(KafkaSettings, bootstrap_servers="127.0.0.1:1")  # not needed for what is asked here
    with pair(away, tmp_path, GATEWAY_GRPC_CONNECTION_AGE_SECONDS="1") as two:
        two.wait(0)
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels += [grpc.insecure_channel(two.grpc_target, options=options) for _ in range(CLIENTS)]
        stubs = [ChaukasServerServiceStub(channel) for channel in channels]

        def call_all() -> None:
            for stub in stubs:
                stub.Healthz(server_pb2.HealthzRequest(), timeout=20)  # no call may fail because its connection is old

        call_all()
        assert two.connections(0) == CLIENTS
        two.start(1)
        two.wait(1)

        def both_serve() -> bool:
            call_all()
            return two.connections(1) > 0 and two.connections(0) > 0

        wait_for("both processes to serve", both_serve, seconds=30)


class Sender(threading.Thread):
    """A client that sends again what it is told to send again, on one connection, and keeps what went wrong otherwise."""

    def __init__(self, two: Pair, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._two = two
        self._over = threading.Event()
        self.accepted = 0
        self.retries = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200)]
        with grpc.insecure_channel(self._two.grpc_target, options=options) as channel:
            stub = ChaukasServerServiceStub(channel)
            try:
                while not self._over.is_set():
                    self._send(stub, f"{self.name}-{self.accepted}")
            except BaseException as error:
                self.failure = error

    def _send(self, stub: Any, event_id: str) -> None:
        sent = event(event_id=event_id, tenant=TENANT)
        deadline = time.monotonic() + 60
        while True:
            try:
                answer = stub.IngestEventBatch(batch_request([sent]), metadata=self._two.keys.full.metadata, timeout=20)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    raise
                self.retries += 1
                time.sleep(min(errors.parse(error).retry_after_seconds or 0.1, 0.3))
            else:
                assert answer.accepted_count == 1
                self.accepted += 1
                return

    def stop(self) -> None:
        self._over.set()
        self.join(90)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["term", "kill"])
def test_one_is_restarted_while_the_other_serves(
    gateway_topics: KafkaSettings, raw: RawTopic, tmp_path: Path, number: signal.Signals
) -> None:
    with pair(gateway_topics, tmp_path) as two:
        two.start(1)
        for place in (0, 1):
            two.wait(place, "readyz")
        senders = [Sender(two, f"{number}-{index}") for index in range(4)]
        for sender in senders:
            sender.start()

        def wait_for_more() -> None:
            before = [sender.accepted for sender in senders]
            wait_for(
                "every client to go on",
                lambda: all(s.failure or s.accepted > then + 5 for s, then in zip(senders, before, strict=True)),
            )

        wait_for_more()
        for place in (0, 1):
            two.processes[place].send_signal(number)
            two.processes[place].communicate(timeout=30)
            wait_for_more()  # with the other one alone
            two.start(place)
            two.wait(place, "readyz")
            wait_for_more()
        for sender in senders:
            sender.stop()
        assert [sender.failure for sender in senders] == [None] * len(senders)
        acknowledged = sum(sender.accepted for sender in senders)

        def counted(place: int) -> float:
            answer = two.status(place, "metrics")
            assert answer is not None
            families = text_string_to_metric_families(answer.text)
            return sum(
                sample.value
                for family in families
                for sample in family.samples
                if sample.name == "gateway_events_accepted_total"
            )

        first = counted(0)
        assert counted(1) == first, "any page tells of all"
        # An event is counted before its answer leaves, killed or not; one whose answer was lost is sent and counted again.
        assert acknowledged <= first <= acknowledged + sum(sender.retries for sender in senders)
        wanted = {f"{sender.name}-{index}" for sender in senders for index in range(sender.accepted)}
        found: set[str] = set()

        def all_found() -> bool:
            found.update(pb.Event.FromString(record.value()).event_id for record in raw.read_available())
            return wanted <= found

        wait_for("every acknowledged event in the raw topic", all_found, seconds=30)
