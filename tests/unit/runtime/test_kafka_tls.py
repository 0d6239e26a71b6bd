"""TLS and SASL for Kafka: `KAFKA_` variables reach librdkafka, its handshake uses them, and no secret is said anywhere."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from runtime.kafka import admin, durable_producer, producer_config
from runtime.settings import KafkaSettings, load
from tests.support.certificates import Ca

SECRET = "a-password-nobody-may-read"


class Broker:
    """As much of one as sees a TLS handshake and what comes first after it."""

    def __init__(self, ca: Ca) -> None:
        files = ca.issue("broker")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(files.cert, files.key)
        self._context.load_verify_locations(ca.path)
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.names: list[object] = []
        self.spoke = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
                wrapped = self._context.wrap_socket(plain, server_side=True)
                self.names.append(wrapped.getpeercert())
                if wrapped.recv(8):
                    self.spoke.set()
                wrapped.close()
            except ssl.SSLError:
                continue
            except OSError:
                return

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ca:
    ca = Ca(tmp_path)
    client = ca.issue("client", "gateway.internal")
    for name, value in {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_SASL_USERNAME": "gateway",
        "KAFKA_SASL_PASSWORD": SECRET,
        "KAFKA_SSL_CA_LOCATION": str(ca.path),
        "KAFKA_SSL_CERTIFICATE_LOCATION": str(client.cert),
        "KAFKA_SSL_KEY_LOCATION": str(client.key),
    }.items():
        monkeypatch.setenv(name, value)
    return ca


def test_a_producer_shows_its_certificate_and_checks_the_brokers(
    environment: Ca, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    broker = Broker(environment)
    settings = load(KafkaSettings, bootstrap_servers=f"127.0.0.1:{broker.port}")
    config = producer_config(settings, max_message_bytes=1_000_000, delivery_seconds=5, linger_ms=1)
    assert config["sasl.password"] == SECRET
    with caplog.at_level(logging.DEBUG):
        producer = durable_producer({**config, "debug": "security,broker,conf"})
        try:
            assert broker.spoke.wait(10), "the handshake, and the client's first request"
        finally:
            producer.poll(0.2)
            producer.purge()
            producer.flush(1)
            broker.close()
    (shown, *_) = broker.names
    assert "gateway.internal" in str(shown)
    assert SECRET not in caplog.text
    assert SECRET not in "".join(capfd.readouterr())
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAFKA_SASL_MECHANISM", "NONSENSE"),
        ("KAFKA_SSL_KEY_PEM", SECRET),
        ("KAFKA_SSL_KEY_PASSWORD", SECRET),
        ("KAFKA_NO_SUCH_PROPERTY", "x"),
    ],
)
def test_what_librdkafka_refuses_is_said_without_secrets(
    environment: Ca, monkeypatch: pytest.MonkeyPatch, name: str, value: str, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    try:
        admin(load(KafkaSettings))
    except KafkaException as error:
        assert SECRET not in str(error)
    assert SECRET not in "".join(capfd.readouterr())
