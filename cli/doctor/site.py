"""What is looked at: the environment's settings, or those of the local stack below STACK_DIR.

The local stack counts, as for every other command, when ``KAFKA_BOOTSTRAP_SERVERS`` names no other system.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic_settings import BaseSettings

from cli.stack.credentials import KEYS_FILE
from cli.stack.kafka import LocalKafkaSettings
from cli.stack.record import Record, load_record
from runtime.settings import (
    GatewaySettings,
    InvalidSettings,
    KafkaSettings,
    ProcessorsSettings,
    SinkSettings,
    TracingSettings,
    load,
)
from runtime.settings.base import env_name
from runtime.settings.stack import StackSettings

S = TypeVar("S", bound=BaseSettings)

#: Where the embedded engine of a local stack keeps its data, below its directory.
STORE_DIRECTORY = "clickhouse"


@dataclass
class Site:
    """One system. Settings that do not load are None, and `problems` says why."""

    environment: Mapping[str, str]
    directory: Path
    #: Of the local stack, when that is what is looked at.
    record: Record | None = None
    kafka: KafkaSettings | None = None
    gateway: GatewaySettings | None = None
    processors: ProcessorsSettings | None = None
    sink: SinkSettings | None = None
    stack: StackSettings | None = None
    problems: dict[str, str] = field(default_factory=dict)

    @classmethod
    def find(cls, environment: Mapping[str, str] | None = None) -> Site:
        """Reads the environment and the stack's record."""
        environment = os.environ if environment is None else environment
        directory = Path(environment.get("STACK_DIR") or ".chaukas").expanduser()
        record = None if environment.get("KAFKA_BOOTSTRAP_SERVERS") else load_record(directory)
        site = cls(environment, directory, record)
        own = site._of_stack()
        site.kafka = site._load("Kafka", LocalKafkaSettings if record else KafkaSettings, own)
        site.gateway = site._load("gateway", GatewaySettings, own)
        site.processors = site._load("processors", ProcessorsSettings, own)
        site.sink = site._load("sink", SinkSettings, own)
        site.stack = site._load("local stack", StackSettings, {})
        site._load("tracing", TracingSettings, {})
        return site

    def says(self, *variables: str) -> bool:
        """Whether somebody named the place: the environment, or the stack's record."""
        return any(self.environment.get(name) for name in variables) or self.record is not None

    def _of_stack(self) -> dict[str, str]:
        """What `up` tells its processes beside the caller's environment."""
        if self.record is None:
            return {}
        return {
            **{name: str(port) for name, port in self.record.ports.items()},
            "KAFKA_BOOTSTRAP_SERVERS": str(self.record.endpoints.get("kafka_bootstrap_servers", "")),
            "GATEWAY_KEYS_FILE": str(self.directory / KEYS_FILE),
            "CLICKHOUSE_DSN": self.environment.get("STACK_CLICKHOUSE_DSN")
            or f"chdb:///{self.directory / STORE_DIRECTORY}",
        }

    def _load(self, title: str, kind: type[S], own: Mapping[str, str]) -> S | None:
        given = {
            name: own[variable]
            for name, field_ in kind.model_fields.items()
            if (variable := env_name(kind, name, field_)) in own and own[variable]
        }
        try:
            return load(kind, **given)
        except InvalidSettings as error:
            self.problems[title] = str(error)
            return None
