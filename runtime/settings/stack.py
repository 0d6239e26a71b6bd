"""Settings of a local stack (`chaukas-gateway up`). What its processes take (``GATEWAY_…``, ``SINK_…``) is read from their own."""

from __future__ import annotations

import enum
import os
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

#: Of the gateways that are started unasked.
_MOST_GATEWAYS = 8


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class PortChoice(enum.StrEnum):
    FIXED = "fixed"
    AUTO = "auto"


class StackSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="STACK_", frozen=True, extra="ignore", env_ignore_empty=True)

    dir: Path = Field(
        Path(".chaukas"), description="Everything the stack writes: Kafka's log, the store, keys, logs, its own record."
    )
    ports: PortChoice = Field(
        PortChoice.FIXED,
        description="`fixed`: the ports of the settings. `auto`: free ones, recorded in `stack.json` and kept for the next start.",
    )
    kafka_port: int = Field(9092, ge=0, le=65535, description="Port of the local Kafka broker; 0: a free one.")
    kafka_controller_port: int = Field(9093, ge=0, le=65535, description="Port of its KRaft controller; 0: a free one.")
    kafka_advertised_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port the broker sends its clients to, when a proxy or a port forward stands before it; 0: its own.",
    )
    kafka_heap_mb: int = Field(512, ge=256, le=65536, description="Largest Java heap of the local broker, MiB.")
    gateways: int = Field(
        0,
        ge=0,
        le=64,
        description="Gateway processes; they share their two ports. 0: half as many as cores, 1 to 8: Kafka, processors and sink run beside them.",
    )
    processors: int = Field(1, ge=1, le=64, description="Processors processes; they share the partitions.")
    start_seconds: float = Field(
        120.0, gt=0, le=3600, description="Longest time from the start of the processes until all are ready, seconds."
    )
    steady_seconds: int = Field(
        30,
        ge=1,
        le=3600,
        description="A process that ends sooner than this after its start is started again after 1, 2, 3, … seconds, one that ran longer at once, seconds.",
    )
    tenant_id: str = Field("demo-tenant", min_length=1, max_length=256, description="Tenant of the development key.")
    project_id: str = Field("demo-project", min_length=1, max_length=256, description="Project in the lines to paste.")
    clickhouse_dsn: SecretStr = Field(
        SecretStr(""),
        description="A store to use instead of the embedded engine below `STACK_DIR` (see CLICKHOUSE_DSN).",
    )

    @property
    def gateway_processes(self) -> int:
        """:attr:`gateways`, or what this machine's cores suggest."""
        return self.gateways or min(max(cores() // 2, 1), _MOST_GATEWAYS)

    @field_validator("dir")
    @classmethod
    def _usable_in_supervisor_conf(cls, value: Path) -> Path:
        text = str(value)
        if any(mark in text for mark in ("\n", "\r", " ;", " #")):
            raise ValueError("a directory's name must not hold line ends, ' ;' or ' #'")
        return value.expanduser().absolute()
