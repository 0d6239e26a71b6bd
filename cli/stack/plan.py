"""What a stack consists of: the programs, their ports and their environment, computed from the settings alone."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from cli.stack import kafka
from cli.stack.endpoints import Endpoints
from cli.stack.ports import PortRequest, reachable
from cli.stack.processes import MARKER, marker_value
from runtime.settings import (
    GatewaySettings,
    InvalidSettings,
    KafkaSettings,
    ProcessorsSettings,
    SinkSettings,
    TracingSettings,
    load,
)
from runtime.settings.stack import PortChoice, StackSettings

#: How much longer than its own graceful stop a process gets before it is killed, seconds.
_STOP_MARGIN_SECONDS = 5
_KAFKA_STOP_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings a local stack reads."""

    stack: StackSettings
    gateway: GatewaySettings
    processors: ProcessorsSettings
    sink: SinkSettings
    kafka: KafkaSettings

    @classmethod
    def from_environment(cls) -> Settings:
        """Raises InvalidSettings, for doors that others could listen at too: before anything is started."""
        gateway, sink = load(GatewaySettings), load(SinkSettings)
        for name, process in (("GATEWAY", gateway), ("SINK", sink)):
            if process.tls_cert_file is not None:
                raise InvalidSettings(
                    f"{name}_TLS_CERT_FILE is set, and a local stack speaks no TLS: it is for this machine "
                    "(docs/security.md has what a deployment needs)"
                )
        if gateway.sink_tls or gateway.sink_ca_file is not None or gateway.sink_cert_file is not None:
            raise InvalidSettings("GATEWAY_SINK_TLS, …_CA_FILE or …_CERT_FILE is set, and a local stack speaks no TLS")
        gateway.open_to_others(grpc_host=gateway.grpc_host, http_host=gateway.http_host)
        sink.open_to_others(grpc_host=sink.grpc_host)
        load(TracingSettings)  # wrong, it would keep every process from starting
        return cls(load(StackSettings), gateway, load(ProcessorsSettings), sink, load(kafka.LocalKafkaSettings))


@dataclass(frozen=True, slots=True)
class Program:
    """What the supervisor runs. Programs stop in reverse order of `priority`."""

    name: str
    command: list[str]
    priority: int
    stop_seconds: int
    #: One that leaves sooner is started again after a pause, which grows.
    steady_seconds: int = 30
    instances: int = 1
    numbered: bool = False
    #: Environment of its own; ``%(process_num)d`` is the instance's number.
    environment: dict[str, str] = field(default_factory=dict)
    #: Status pages by instance.
    ready_urls: list[str] = field(default_factory=list)

    def instance_names(self) -> list[str]:
        return [f"{self.name}-{number}" for number in range(self.instances)] if self.numbered else [self.name]


def port_requests(settings: Settings) -> list[PortRequest]:
    """Every listener of the stack."""
    stack, gateway, processors, sink = settings.stack, settings.gateway, settings.processors, settings.sink
    return [
        PortRequest("STACK_KAFKA_PORT", kafka.HOST, stack.kafka_port),
        PortRequest("STACK_KAFKA_CONTROLLER_PORT", kafka.HOST, stack.kafka_controller_port),
        PortRequest("GATEWAY_GRPC_PORT", gateway.grpc_host, gateway.grpc_port),
        PortRequest("GATEWAY_HTTP_PORT", gateway.http_host, gateway.http_port),
        PortRequest("GATEWAY_STATUS_PORT", gateway.http_host, gateway.status_port, span=stack.gateway_processes),
        PortRequest("SINK_GRPC_PORT", sink.grpc_host, sink.grpc_port),
        PortRequest("SINK_HTTP_PORT", sink.http_host, sink.http_port),
        PortRequest("PROCESSORS_HTTP_PORT", processors.http_host, processors.http_port, span=stack.processors),
    ]


def auto_ports(settings: Settings) -> bool:
    return settings.stack.ports is PortChoice.AUTO


def endpoints(settings: Settings, ports: Mapping[str, int], api_key: str) -> Endpoints:
    """How this machine reaches the stack."""
    gateway = settings.gateway
    return Endpoints(
        http_url=f"http://{_address(gateway.http_host, ports['GATEWAY_HTTP_PORT'])}",
        grpc_target=_address(gateway.grpc_host, ports["GATEWAY_GRPC_PORT"]),
        api_key=api_key,
        tenant_id=settings.stack.tenant_id,
        project_id=settings.stack.project_id,
        kafka_bootstrap_servers=_bootstrap_servers(settings, ports),
    )


def environment(
    settings: Settings, ports: Mapping[str, int], sink_token: str, admin_token: str, base: Mapping[str, str]
) -> dict[str, str]:
    """The environment of every process: the caller's (`base`), with what makes this stack a stack.

    The caller's variables about a Kafka cluster or a store are dropped: they describe another system, and a demo must never
    land there.
    """
    directory = settings.stack.dir
    dsn = settings.stack.clickhouse_dsn.get_secret_value()
    kept = {
        name: value for name, value in base.items() if not name.startswith("KAFKA_") or name.startswith("KAFKA_TOPIC_")
    }
    if rules := kept.get("PROCESSORS_REDACTION_FILE"):
        kept["PROCESSORS_REDACTION_FILE"] = str(Path(rules).absolute())  # processes run in the stack's directory
    return {
        **kept,
        **{name: str(port) for name, port in ports.items()},
        "KAFKA_BOOTSTRAP_SERVERS": _bootstrap_servers(settings, ports),
        "CLICKHOUSE_DSN": dsn or f"chdb:///{quote(str(directory / 'clickhouse'))}",
        "GATEWAY_KEYS_FILE": str(directory / "keys.json"),
        "GATEWAY_SINK_TARGET": _address(settings.sink.grpc_host, ports["SINK_GRPC_PORT"]),
        "GATEWAY_SINK_TOKEN": sink_token,
        "GATEWAY_QUOTA_PROCESSES": str(settings.stack.gateway_processes),
        "SINK_TOKEN": sink_token,
        "SINK_ADMIN_TOKEN": admin_token,
        **{f"{name}_STARTS_DIR": str(starts_directory(directory)) for name in ("GATEWAY", "PROCESSORS", "SINK")},
        "GATEWAY_METRICS_DIR": str(metrics_directory(directory)),
        # What a killed process leaves in its temporary directory stays in the stack's, and is nobody else's.
        "TMPDIR": str(temporary_directory(directory)),
        MARKER: marker_value(directory),
    }


def programs(settings: Settings, ports: Mapping[str, int]) -> list[Program]:
    """In start order."""
    stack = settings.stack

    def python(module: str) -> list[str]:
        # -P: a directory named `gateway` where the command was typed must not be imported instead of ours.
        return [sys.executable, "-P", "-m", module]

    def page(host: str, variable: str, offset: int = 0) -> str:
        return f"http://{_address(host, ports[variable] + offset)}/readyz"

    def stop_seconds(own: float) -> int:
        return math.ceil(own) + _STOP_MARGIN_SECONDS

    steady = stack.steady_seconds
    return [
        Program("kafka", kafka.command(stack.dir / "kafka", stack.kafka_heap_mb), 10, _KAFKA_STOP_SECONDS, steady),
        Program(
            "sink",
            python("sink"),
            20,
            stop_seconds(settings.sink.shutdown_seconds),
            steady,
            ready_urls=[page(settings.sink.http_host, "SINK_HTTP_PORT")],
        ),
        Program(
            "processors",
            python("processors"),
            30,
            stop_seconds(settings.processors.shutdown_seconds),
            steady,
            instances=stack.processors,
            numbered=True,
            environment={"PROCESSORS_INSTANCE": "%(process_num)d"},
            ready_urls=[
                page(settings.processors.http_host, "PROCESSORS_HTTP_PORT", n) for n in range(stack.processors)
            ],
        ),
        Program(
            "gateway",
            python("gateway"),
            40,
            stop_seconds(settings.gateway.shutdown_seconds),
            steady,
            instances=stack.gateway_processes,
            numbered=True,
            environment={"GATEWAY_INSTANCE": "%(process_num)d"},
            # Not the doors': one of them answers for whichever process gets the connection.
            ready_urls=[
                page(settings.gateway.http_host, "GATEWAY_STATUS_PORT", n) for n in range(stack.gateway_processes)
            ],
        ),
    ]


def log_directory(directory: Path) -> Path:
    return directory / "logs"


def starts_directory(directory: Path) -> Path:
    return directory / "starts"


def metrics_directory(directory: Path) -> Path:
    return directory / "metrics"


def temporary_directory(directory: Path) -> Path:
    return directory / "tmp"


def _bootstrap_servers(settings: Settings, ports: Mapping[str, int]) -> str:
    return f"{kafka.HOST}:{settings.stack.kafka_advertised_port or ports['STACK_KAFKA_PORT']}"


def _address(host: str, port: int) -> str:
    name = reachable(host)
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
