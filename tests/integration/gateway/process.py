"""A gateway as an operator runs it: a process of its own, told to stop by signals."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import httpx

from runtime.settings import KafkaSettings
from tests.integration.gateway.harness import KeyFile


class Process:
    """``python -m gateway`` as an operator runs it."""

    def __init__(self, kafka: KafkaSettings, keys: KeyFile, **environment: str) -> None:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            two.bind(("127.0.0.1", 0))
            self.grpc_port, self.http_port = one.getsockname()[1], two.getsockname()[1]
        self.environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
            "GATEWAY_KEYS_FILE": str(keys.path),
            "GATEWAY_GRPC_PORT": str(self.grpc_port),
            "GATEWAY_HTTP_PORT": str(self.http_port),
            **environment,
        }
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.process = self.spawn()

    def spawn(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "gateway"], env=self.environment, stderr=subprocess.PIPE, text=True
        )

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def ready(self) -> bool:
        assert self.process.poll() is None, self.process.communicate()[1]
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False
