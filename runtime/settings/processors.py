"""Settings of the stream processors."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from contracts.topics import MIB
from runtime.settings.base import ProcessSettings


class ProcessorsSettings(ProcessSettings):
    model_config = SettingsConfigDict(env_prefix="PROCESSORS_")

    group: str = Field(
        "",
        description="Kafka consumer group; empty: `chaukas-processors`, behind `KAFKA_TOPIC_PREFIX` when that is not the usual one.",
    )
    group_instance_id: str = Field(
        "",
        description="Static membership: with a name, a restart within the session timeout moves no partition; the instance's number is appended.",
    )
    window_offsets: int = Field(
        50_000,
        ge=1,
        le=10_000_000,
        description="How far back, in offsets of one partition, an event can be related to another.",
    )
    http_host: str = Field("127.0.0.1", description="Address of the status page.")
    http_port: int = Field(
        9102,
        ge=0,
        le=65535,
        description="Port of the status page of instance 0; instance n listens n higher. 0: any free port.",
    )
    instance: int = Field(0, ge=0, le=1000, description="Number of this process on its machine.")
    batch_records: int = Field(4000, ge=1, le=100_000, description="Most records of one poll, and so of one batch.")
    batch_attempts: int = Field(
        4, ge=1, le=100, description="How often a batch that fails is tried before the process stops."
    )
    inflight_records: int = Field(8000, ge=1, le=1_000_000, description="Most records read and not finished.")
    inflight_bytes: int = Field(64 * MIB, ge=MIB, description="Most bytes of values read and not finished.")
    commit_seconds: float = Field(
        1.0, gt=0, le=60, description="How often offsets are committed; what a kill makes a successor repeat, seconds."
    )
    session_seconds: float = Field(
        10.0,
        ge=1,
        le=300,
        description="Kafka session timeout: how long a killed worker's partitions wait for another, seconds.",
    )
    linger_ms: float = Field(
        2.0, ge=0, le=1000, description="How long librdkafka gathers records before it sends, milliseconds."
    )
    stall_seconds: float = Field(
        120.0,
        gt=0,
        le=3600,
        description="Without a finished batch or a successful commit for this long, although there is work, the process ends with status 75 (Kafka away for so long, or an agent that hangs), seconds.",
    )
    redaction_file: Path | None = Field(
        None,
        description="Redaction rules (docs/privacy.md), read at start, the same on every worker; empty: events are handed on as clients sent them.",
    )
    redaction_secret: SecretStr = Field(
        SecretStr(""),
        description="Key of redaction's hashes, 32 characters or more; needed when a rule hashes. With another one, equal values no longer have equal hashes.",
    )
    dead_letters_accepted_until: AwareDatetime | None = Field(
        None,
        description="RFC 3339. After a flood of dead letters stopped the worker: letters of records with an earlier Kafka time are accepted and no longer count as a flood. `chaukas-gateway dlq accept` says the same to running processes; the later time holds.",
    )

    @property
    def accepted_until_ms(self) -> int:
        """:attr:`dead_letters_accepted_until` in Unix milliseconds; 0 when not set."""
        until: datetime | None = self.dead_letters_accepted_until
        return int(until.timestamp() * 1000) if until is not None else 0
