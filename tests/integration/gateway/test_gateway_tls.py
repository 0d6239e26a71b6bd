"""TLS on both doors: certificates come and go while the gateway runs, clients may need one, nothing is plaintext by accident."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
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
from runtime.settings import GatewaySettings, InvalidSettings, KafkaSettings, load
from tests.integration.gateway.harness import RunningGateway
from tests.support.certificates import Ca, Files
from tests.support.waiting import wait_for

#: Nobody listens there: these tests are about who gets in.
NO_KAFKA = load(KafkaSettings, bootstrap_servers="127.0.0.1:1")
CAPABILITIES = server_pb2.GetCapabilitiesRequest()


class Doors:
    """A gateway with TLS, and its clients."""

    def __init__(self, directory: Path, *, mutual: bool = False) -> None:
        self.ca = Ca(directory)
        self.clients = Ca(directory, "clients")
        self.server = self.ca.issue("server")
        settings: dict[str, Any] = {"tls_cert_file": self.server.cert, "tls_key_file": self.server.key}
        if mutual:
            settings["tls_client_ca_file"] = self.clients.path
        self.gateway = RunningGateway(NO_KAFKA, directory, **settings)

    def http(self, files: Files | None = None, ca: Ca | None = None) -> int:
        """Status of a call on a new connection. Raises httpx.TransportError."""
        context = (ca or self.ca).client_context(files)
        url = f"https://127.0.0.1:{self.gateway.ports.http}/v1/capabilities"
        with httpx.Client(verify=context) as client:
            return client.get(url, headers=self.gateway.keys.full.headers).status_code

    def grpc(self, files: Files | None = None, ca: Ca | None = None) -> str:
        """Code of a call on a new connection."""
        credentials = grpc.ssl_channel_credentials(
            (ca or self.ca).path.read_bytes(),
            files.key.read_bytes() if files is not None else None,
            files.cert.read_bytes() if files is not None else None,
        )
        with grpc.secure_channel(self.gateway.grpc_target, credentials) as channel:
            try:
                ChaukasServerServiceStub(channel).GetCapabilities(
                    CAPABILITIES, metadata=self.gateway.keys.full.metadata, timeout=5
                )
            except grpc.RpcError as error:
                return str(error.code().name)
        return "OK"

    def shown(self, files: Files | None = None) -> set[int]:
        ports = self.gateway.ports
        return {self.ca.shown_at(ports.http, files), self.ca.shown_at(ports.grpc, files, "h2")}


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[Doors]:
    made = Doors(tmp_path)
    yield made
    made.gateway.stop()


@pytest.fixture
def mutual(tmp_path: Path) -> Iterator[Doors]:
    directory = tmp_path / "mutual"
    directory.mkdir()
    made = Doors(directory, mutual=True)
    yield made
    made.gateway.stop()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_both_doors_speak_tls_and_nothing_else(doors: Doors, tmp_path: Path) -> None:
    assert (doors.http(), doors.grpc()) == (200, "OK")
    assert doors.shown() == {doors.server.serial}
    stranger = Ca(tmp_path, "stranger")
    assert doors.grpc(ca=stranger) == "UNAVAILABLE"
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        doors.http(ca=stranger)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{doors.gateway.ports.http}/healthz")
    with grpc.insecure_channel(doors.gateway.grpc_target) as channel, pytest.raises(grpc.RpcError):
        ChaukasServerServiceStub(channel).Healthz(server_pb2.HealthzRequest(), timeout=5)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(doors.ca.path)
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", doors.gateway.ports.http), timeout=5) as plain, pytest.raises(OSError):
        old.wrap_socket(plain, server_hostname="127.0.0.1")


def test_certificates_are_renewed_without_a_restart_or_a_lost_connection(doors: Doors) -> None:
    url = f"https://127.0.0.1:{doors.gateway.ports.http}/healthz"
    with httpx.Client(verify=doors.ca.client_context()) as kept:
        connection = kept.get(url).extensions["network_stream"].get_extra_info("client_addr")
        before = doors.server.serial
        renewed = doors.ca.issue("server")
        assert renewed.serial != before
        wait_for("the new certificate on both doors", lambda: doors.shown() == {renewed.serial}, seconds=10)
        assert (doors.http(), doors.grpc()) == (200, "OK")
        again = kept.get(url)
        assert again.extensions["network_stream"].get_extra_info("client_addr") == connection


@pytest.mark.parametrize("broken", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_files_that_cannot_be_used_keep_the_certificate(doors: Doors, broken: str) -> None:
    serial = doors.server.serial
    doors.server.cert.write_text(broken)
    # Nothing can be waited for: a new certificate right behind shows that the broken one was looked at, or skipped.
    for _ in range(4):
        assert doors.shown() == {serial}
    doors.server.cert.unlink()
    assert doors.shown() == {serial}
    renewed = doors.ca.issue("server")
    wait_for("the new certificate", lambda: doors.shown() == {renewed.serial}, seconds=10)


def test_a_key_of_another_certificate_keeps_the_old_pair(doors: Doors) -> None:
    serial = doors.server.serial
    other = doors.ca.issue("other")
    doors.server.key.write_bytes(other.key.read_bytes())
    assert doors.shown() == {serial}
    doors.server.cert.write_bytes(other.cert.read_bytes())
    wait_for("the pair to be complete", lambda: doors.shown() == {other.serial}, seconds=10)


def test_with_a_client_ca_a_key_alone_does_not_get_in(mutual: Doors) -> None:
    known, foreign = mutual.clients.issue("client"), mutual.ca.issue("foreign")
    assert (mutual.http(known), mutual.grpc(known)) == (200, "OK")
    for files in (None, foreign):
        assert mutual.grpc(files) == "UNAVAILABLE"
        with pytest.raises(httpx.TransportError):
            mutual.http(files)


def test_a_client_ca_can_be_replaced(mutual: Doors) -> None:
    known = mutual.clients.issue("client")
    assert (mutual.http(known), mutual.grpc(known)) == (200, "OK")
    following = Ca(mutual.clients.path.parent, "clients").issue("following")  # the same file

    def replaced() -> bool:
        try:
            return (mutual.http(following), mutual.grpc(following)) == (200, "OK")
        except httpx.TransportError:
            return False

    wait_for("the new CA's clients to get in", replaced, seconds=10)
    assert mutual.grpc(known) == "UNAVAILABLE"
    with pytest.raises(httpx.TransportError):
        mutual.http(known)


def test_the_command_line_talks_to_it(doors: Doors, mutual: Doors) -> None:
    def status(doors: Doors, *arguments: str, **environment: str) -> tuple[int, str]:
        key = doors.gateway.keys.full.text
        result = CliRunner().invoke(app, ["stats", *arguments], env={"CHAUKAS_API_KEY": key, **environment})
        return result.exit_code, result.output

    target = doors.gateway.grpc_target
    away = "the query server does not answer"  # the gateway's own words: it was reached
    for arguments in (("--endpoint", f"https://{target}"), ("--endpoint", target), ("--endpoint", target, "--tls")):
        assert away in status(doors, *arguments, "--ca-file", str(doors.ca.path))[1]
    assert away in status(doors, "--endpoint", target, GATEWAY_ENDPOINT_CA_FILE=str(doors.ca.path))[1]
    assert away not in status(doors, "--endpoint", f"https://{target}")[1]
    code, said = status(doors, "--endpoint", target, "--ca-file", "/nowhere.pem")
    assert (code, "/nowhere.pem cannot be read" in said) == (2, True)
    client = mutual.clients.issue("cli")
    files = {
        "GATEWAY_ENDPOINT_CA_FILE": str(mutual.ca.path),
        "GATEWAY_ENDPOINT_CERT_FILE": str(client.cert),
        "GATEWAY_ENDPOINT_KEY_FILE": str(client.key),
    }
    assert away in status(mutual, "--endpoint", mutual.gateway.grpc_target, **files)[1]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example"])
@pytest.mark.parametrize("door", ["grpc_host", "http_host"])
def test_plaintext_for_others_must_be_asked_for(tmp_path: Path, host: str, door: str) -> None:
    settings: dict[str, Any] = {door: host}
    with pytest.raises(InvalidSettings, match="GATEWAY_ALLOW_PLAINTEXT"):
        RunningGateway(NO_KAFKA, tmp_path, **settings)
    hosts = {"grpc_host": "127.0.0.1", "http_host": "localhost", **settings}
    allowed = load(GatewaySettings, allow_plaintext=True, **settings)
    assert allowed.open_to_others(**hosts) == [f"GATEWAY_{door.upper()}={host!r}"]
    files = {"tls_cert_file": "cert", "tls_key_file": "key"}
    assert load(GatewaySettings, **settings, **files).open_to_others(**hosts) == []


def test_what_was_asked_for_is_said_at_each_start(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    running = RunningGateway(NO_KAFKA, tmp_path, http_host="0.0.0.0", allow_plaintext=True)
    running.stop()
    said = [line for line in capfd.readouterr().out.splitlines() if "listens_without_tls" in line]
    assert len(said) == 1
    assert "GATEWAY_HTTP_HOST='0.0.0.0'" in said[0]
    assert "GATEWAY_GRPC_HOST" not in said[0]


def test_the_process_says_what_is_wrong_and_ends_with_2(tmp_path: Path) -> None:
    environment = {**os.environ, "GATEWAY_GRPC_HOST": "0.0.0.0", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    environment["GATEWAY_KEYS_FILE"] = str(tmp_path / "keys.json")
    done = subprocess.run(
        [sys.executable, "-m", "gateway"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "GATEWAY_ALLOW_PLAINTEXT=true" in done.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tls_cert_file": "/nowhere.pem"}, "GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE go together"),
        ({"tls_client_ca_file": "/nowhere.pem"}, "GATEWAY_TLS_CLIENT_CA_FILE needs"),
        ({"tls_cert_file": "/nowhere.pem", "tls_key_file": "/nowhere.key"}, "/nowhere.pem cannot be read"),
        ({"sink_cert_file": "/nowhere.pem"}, "GATEWAY_SINK_CERT_FILE and GATEWAY_SINK_KEY_FILE go together"),
        ({"sink_ca_file": "/nowhere.pem"}, "/nowhere.pem cannot be read"),
    ],
)
def test_what_cannot_be_used_is_said_at_start(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        RunningGateway(NO_KAFKA, tmp_path, **settings)
