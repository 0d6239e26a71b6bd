"""TLS between gateway and sink: who may ask when certificates take the token's place, or stand beside it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from chaukas.spec.server.v1 import server_pb2
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from cli.main import app
from contracts.errors import GatewayError, Unavailable
from contracts.identity import Identity, Scope
from gateway.draining import Draining
from gateway.query_client import GET_EVENT_STATS, QueryClient, SinkRefused
from runtime.health import Readiness
from runtime.settings import InvalidSettings, SinkSettings, load
from runtime.tls import ClientCertificates, TlsFiles
from sink.query.server import check_exposure, serve
from sink.store_admin import StoreAdmin
from tests.support.certificates import Ca, Files

T = TypeVar("T")
CALLER = Identity("t", None, frozenset({Scope.QUERY}))


class Tired:
    """A store whose every read is too slow: its error is told from a refusal at the door."""

    async def read(self, job: Callable[[Client], T]) -> T:
        raise DatabaseError("Code: 159.", code=159)

    async def stop(self, tag: str, ended: Any) -> None:
        raise AssertionError("nothing runs that could be stopped")


class Sink:
    """A sink's door with certificates made for it."""

    def __init__(self, directory: Path) -> None:
        self.ca = Ca(directory)
        self.files = self.ca.issue("sink")
        self.port = 0

    @asynccontextmanager
    async def serving(self, **settings: Any) -> AsyncIterator[Sink]:
        chosen = {"tls_cert_file": self.files.cert, "tls_key_file": self.files.key, **settings}
        loaded = load(SinkSettings, grpc_port=0, **chosen)
        store = Tired()
        server = await serve(store, loaded, Readiness(), CollectorRegistry(), StoreAdmin(store, "", 0))
        self.port = server.port
        try:
            yield self
        finally:
            await server.stop(0)

    async def ask(self, files: Files | None, token: str = "", *, plaintext: bool = False) -> str:
        """What a gateway with these files gets: the name of the code, or the error's class."""
        chosen = TlsFiles(files.cert, files.key, self.ca.path) if files is not None else TlsFiles(ca=self.ca.path)
        client = QueryClient(
            f"127.0.0.1:{self.port}", token, Draining(), None if plaintext else ClientCertificates(chosen)
        )
        try:
            await client.forward(GET_EVENT_STATS, server_pb2.GetEventStatsRequest(), CALLER, 5)
        except SinkRefused as error:
            return error.code.name
        except GatewayError as error:
            return type(error).__name__
        finally:
            await client.close()
        raise AssertionError("nothing can be answered")


@pytest.fixture
def sink(tmp_path: Path) -> Sink:
    return Sink(tmp_path)


#: The store was asked; the door let the caller in.
LET_IN, REFUSED = "DEADLINE_EXCEEDED", Unavailable.__name__


async def test_tls_protects_the_token(sink: Sink) -> None:
    async with sink.serving(token="between-us"):
        assert await sink.ask(None, "between-us") == LET_IN
        assert await sink.ask(None, "guess") == REFUSED
        assert await sink.ask(None, "between-us", plaintext=True) == REFUSED


async def test_a_certificate_takes_the_tokens_place(sink: Sink, tmp_path: Path) -> None:
    clients = Ca(tmp_path, "clients")
    async with sink.serving(tls_client_ca_file=clients.path):
        assert await sink.ask(clients.issue("gateway")) == LET_IN
        assert await sink.ask(sink.ca.issue("foreign")) == REFUSED
        assert await sink.ask(None) == REFUSED


async def test_both_are_wanted_when_both_are_set(sink: Sink, tmp_path: Path) -> None:
    clients = Ca(tmp_path, "clients")
    async with sink.serving(tls_client_ca_file=clients.path, token="between-us"):
        gateway = clients.issue("gateway")
        assert await sink.ask(gateway, "between-us") == LET_IN
        assert await sink.ask(gateway) == REFUSED
        assert await sink.ask(None, "between-us") == REFUSED


@pytest.mark.parametrize(
    ("names", "outcome"),
    [
        ("gateway.internal", LET_IN),
        ("x, gateway.internal", LET_IN),
        ("the-gateway", LET_IN),
        ("other.internal", REFUSED),
    ],
)
async def test_of_a_shared_ca_only_some_names_may_ask(sink: Sink, names: str, outcome: str) -> None:
    gateway = sink.ca.issue("gateway", "gateway.internal", common_name="the-gateway")
    async with sink.serving(tls_client_ca_file=sink.ca.path, tls_client_names=names):
        assert await sink.ask(gateway) == outcome


async def test_the_gateways_certificate_can_be_replaced(sink: Sink, tmp_path: Path) -> None:
    first, second = Ca(tmp_path, "first"), Ca(tmp_path, "second")
    gateway = first.issue("gateway")
    async with sink.serving(tls_client_ca_file=second.path):
        files = TlsFiles(gateway.cert, gateway.key, sink.ca.path)
        client = QueryClient(f"127.0.0.1:{sink.port}", "", Draining(), ClientCertificates(files))
        with pytest.raises(Unavailable):
            await client.forward(GET_EVENT_STATS, server_pb2.GetEventStatsRequest(), CALLER, 2)
        second.issue("gateway")  # the same files
        for _ in range(40):
            await asyncio.sleep(0.1)
            try:
                await client.forward(GET_EVENT_STATS, server_pb2.GetEventStatsRequest(), CALLER, 2)
            except SinkRefused as error:
                assert error.code.name == LET_IN
                break
            except Unavailable:
                continue
        else:
            raise AssertionError("the new certificate is never shown")
        await client.close()


async def test_operators_come_in_over_tls_with_their_token(sink: Sink) -> None:
    async with sink.serving(tls_client_ca_file=sink.ca.path, admin_token="operators-only"):
        operator = sink.ca.issue("operator")
        environment = {
            "GATEWAY_SINK_TARGET": f"127.0.0.1:{sink.port}",
            "GATEWAY_SINK_CA_FILE": str(sink.ca.path),
            "GATEWAY_SINK_CERT_FILE": str(operator.cert),
            "GATEWAY_SINK_KEY_FILE": str(operator.key),
            "SINK_ADMIN_TOKEN": "operators-only",
        }

        def said(**changed: str) -> str:
            return CliRunner().invoke(app, ["hold", "list"], env={**environment, **changed}).output

        assert "DEADLINE_EXCEEDED" in await asyncio.to_thread(said)
        assert "UNAUTHENTICATED" in await asyncio.to_thread(
            said, SINK_ADMIN_TOKEN="a gateway's certificate is not enough"
        )
        assert "no sink answers" in await asyncio.to_thread(said, GATEWAY_SINK_CERT_FILE="", GATEWAY_SINK_KEY_FILE="")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "SINK_TOKEN is not set"),
        ({"token": "t"}, "SINK_ALLOW_PLAINTEXT"),
        ({"allow_plaintext": True}, "SINK_TOKEN is not set"),
        ({"tls_cert_file": "c", "tls_key_file": "k"}, "SINK_TOKEN is not set"),
        ({"token": "t", "tls_client_names": "x"}, "SINK_TLS_CLIENT_NAMES needs"),
    ],
)
def test_strangers_and_listeners_on_the_way_must_be_shut_out(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        check_exposure(load(SinkSettings, grpc_host="0.0.0.0", **settings))


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "SINK_TOKEN is not set"),
        ({"SINK_TOKEN": "a-token-of-the-test"}, "SINK_ALLOW_PLAINTEXT"),
    ],
)
def test_the_process_does_not_start_nor_touch_its_store(tmp_path: Path, environment: dict[str, str], said: str) -> None:
    environment = {
        **os.environ,
        "SINK_GRPC_HOST": "0.0.0.0",
        "CLICKHOUSE_DSN": f"chdb:///{tmp_path}/store",
        **environment,
    }
    done = subprocess.run([sys.executable, "-m", "sink"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert said in done.stderr
    assert "a-token-of-the-test" not in done.stderr + done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "settings",
    [
        {"token": "t", "allow_plaintext": True},
        {"token": "t", "tls_cert_file": "c", "tls_key_file": "k"},
        {"tls_cert_file": "c", "tls_key_file": "k", "tls_client_ca_file": "ca"},
        {"grpc_host": "127.0.0.1"},
    ],
)
def test_what_may_listen_for_others(settings: dict[str, Any]) -> None:
    check_exposure(load(SinkSettings, **{"grpc_host": "0.0.0.0", **settings}))


async def test_grpc_tells_of_a_sink_whose_certificate_is_not_trusted(sink: Sink, tmp_path: Path) -> None:
    async with sink.serving(token="between-us"):
        stranger = Ca(tmp_path, "stranger")
        client = QueryClient(
            f"127.0.0.1:{sink.port}", "between-us", Draining(), ClientCertificates(TlsFiles(ca=stranger.path))
        )
        with pytest.raises(Unavailable):
            await client.forward(GET_EVENT_STATS, server_pb2.GetEventStatsRequest(), CALLER, 2)
        await client.close()
