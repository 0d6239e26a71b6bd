"""Keys that come and go while gateways run and their clients stay connected."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from chaukas.spec.server.v1 import server_pb2
from chaukas.spec.server.v1.server_pb2_grpc import ChaukasServerServiceStub
from typer.testing import CliRunner

from cli.main import app
from contracts.spec_json import event_to_json
from runtime.settings import KafkaSettings
from tests.integration.gateway.harness import PROJECT, TENANT, KeyFile, RunningGateway
from tests.integration.gateway.process import Process
from tests.support.events import event
from tests.support.waiting import wait_for

EVENT = event(tenant=TENANT, project=PROJECT)


def command(path: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["keys", *arguments, "--file", str(path)])
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


class Client:
    """Keeps one HTTP and one gRPC connection to a gateway."""

    def __init__(self, gateway: Process) -> None:
        self._http = httpx.Client(base_url=gateway.url, limits=httpx.Limits(max_connections=1))
        self._channel: Any = grpc.insecure_channel(gateway.grpc_target)
        self._stub = ChaukasServerServiceStub(self._channel)
        self.connections: set[Any] = set()
        self.states: list[grpc.ChannelConnectivity] = []
        self._channel.subscribe(self.states.append)

    def outcome(self, key: str) -> tuple[int, str]:
        """HTTP status and gRPC code of an event sent with `key`."""
        headers = {"authorization": f"Bearer {key}"}
        answer = self._http.post("/events", json=event_to_json(EVENT), headers=headers)
        self.connections.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
        try:
            self._stub.IngestEvent(server_pb2.IngestEventRequest(event=EVENT), metadata=tuple(headers.items()))
            code = "OK"
        except grpc.RpcError as error:
            code = error.code().name
        return answer.status_code, code

    def close(self) -> None:
        self._http.close()
        self._channel.close()


@pytest.fixture
def two(gateway_topics: KafkaSettings, tmp_path: Path) -> Iterator[tuple[Path, list[Client]]]:
    """Two gateways on one key file that commands write, and a client of each."""
    keys = KeyFile(tmp_path / "keys.json")
    command(keys.path, "create", "--tenant", TENANT)  # seals it, and makes the pepper
    gateways = [Process(gateway_topics, keys) for _ in range(2)]
    clients: list[Client] = []
    try:
        for gateway in gateways:
            wait_for("a gateway to be ready", gateway.ready, seconds=30)
            clients.append(Client(gateway))
        yield keys.path, clients
    finally:
        for client in clients:
            client.close()
        for gateway in gateways:
            gateway.kill()


def test_every_process_hears_of_every_change_and_connections_stay(two: tuple[Path, list[Client]]) -> None:
    path, clients = two

    def all_say(key: str, status: int, code: str) -> None:
        for client in clients:
            wait_for(f"{status} and {code}", lambda it=client: it.outcome(key) == (status, code), seconds=10)  # type: ignore[misc]

    first = command(path, "create", "--tenant", TENANT)
    all_say(first, 202, "OK")
    second = command(path, "rotate", first.split("_")[1], "--grace", "3600")
    all_say(second, 202, "OK")
    assert [client.outcome(first) for client in clients] == [(202, "OK")] * 2, "the grace"
    command(path, "revoke", first.split("_")[1])
    all_say(first, 401, "UNAUTHENTICATED")
    third = command(path, "rotate", second.split("_")[1], "--grace", "1")
    all_say(second, 401, "UNAUTHENTICATED")
    all_say(third, 202, "OK")
    for client in clients:
        assert len(client.connections) == 1, "it was the same connection all the time"
        assert not {grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.TRANSIENT_FAILURE} & set(client.states[2:])


def test_a_key_revoked_while_its_request_arrives_is_refused(gateway: RunningGateway) -> None:
    key = gateway.keys.add()
    head = (
        "POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
        f"authorization: Bearer {key.text}\r\ncontent-length: %d\r\n\r\n"
    )
    body = server_pb2.IngestEventRequest(event=EVENT).SerializeToString()
    wait_for("the new key to work", lambda: _status(gateway, key.headers) == 200, seconds=10)
    with socket.create_connection(("127.0.0.1", gateway.ports.http), timeout=20) as slow:
        slow.sendall((head % len(body)).encode() + body[:10])
        revoked = threading.Event()

        def message() -> Iterator[bytes]:
            revoked.wait(20)
            yield body

        call = gateway.channel.stream_unary("/chaukas.spec.server.v1.ChaukasServerService/IngestEvent").future(
            message(), metadata=key.metadata
        )
        wait_for("both requests to be under way", lambda: gateway.gateway.admission.calls == 2, seconds=10)
        gateway.keys.revoke(key)
        wait_for("the key to be unknown", lambda: _status(gateway, key.headers) == 401, seconds=10)
        slow.sendall(body[10:])
        revoked.set()
        assert slow.recv(4096).startswith(b"HTTP/1.1 401 ")
        assert call.exception(20).code() is grpc.StatusCode.UNAUTHENTICATED


def _status(gateway: RunningGateway, headers: dict[str, str]) -> int:
    return gateway.http.get("/v1/capabilities", headers=headers).status_code
