"""Settings of the sink: writer and query server."""

from __future__ import annotations

import enum
from datetime import datetime
from pathlib import Path

import jsonpath
from pydantic import AwareDatetime, Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from runtime.settings.tls import ListeningSettings


class SinkRole(enum.StrEnum):
    ALL = "all"
    WRITER = "writer"
    QUERY = "query"


class SinkSettings(ListeningSettings):
    model_config = SettingsConfigDict(env_prefix="SINK_", populate_by_name=True)

    clickhouse_dsn: SecretStr = Field(
        SecretStr("chdb:///.chaukas/clickhouse"),
        validation_alias="CLICKHOUSE_DSN",
        description="`chdb:///directory` (embedded engine; `chdb:////abs/dir` for an absolute path) or `clickhouse[s]://user:password@host:port/database`, with `?cluster=name` for a cluster.",
    )
    clickhouse_ca_file: Path | None = Field(
        None,
        validation_alias="CLICKHOUSE_CA_FILE",
        description="CA (PEM) of the server's certificate, for `clickhouses://`; empty: the usual ones.",
    )
    role: SinkRole = Field(SinkRole.ALL, description="`all`, `writer` or `query`; the embedded engine needs `all`.")
    group: str = Field(
        "",
        description="Kafka consumer group; empty: `chaukas-sink`, behind `KAFKA_TOPIC_PREFIX` when that is not the usual one.",
    )
    grpc_host: str = Field("127.0.0.1", description="Address the query server listens on.")
    grpc_port: int = Field(50052, ge=0, le=65535, description="Port of the query server.")
    http_host: str = Field("127.0.0.1", description="Address of the status page.")
    http_port: int = Field(9101, ge=0, le=65535, description="Port of the status page.")
    token: SecretStr = Field(
        SecretStr(""),
        description="What the gateway must show; empty: only on a loopback address, or with SINK_TLS_CLIENT_CA_FILE.",
    )
    tls_client_names: str = Field(
        "",
        description="Whose certificates may ask queries: names (common name, DNS name or URI), comma-separated. Empty: every one of SINK_TLS_CLIENT_CA_FILE.",
    )
    admin_token: SecretStr = Field(
        SecretStr(""),
        description="What an operator must show to change retention and legal holds (`chaukas-gateway retention|hold`); empty: nobody can. Not the gateway's SINK_TOKEN.",
    )
    page_token_key: SecretStr = Field(
        SecretStr(""), description="Signs page tokens; empty: derived from SINK_TOKEN. The same on every query server."
    )
    batch_rows: int = Field(50_000, ge=1, le=1_000_000, description="Most rows of one insert.")
    batch_bytes: int = Field(64 * 1024 * 1024, ge=1024, description="Most bytes of values of one insert.")
    batch_age_seconds: float = Field(
        0.5,
        gt=0,
        le=60,
        description="Longest time a row waits for its batch to fill, seconds (less while inserts are quick, down to 0.25); shorter shows events sooner, and merging more and smaller parts costs more.",
    )
    insert_timeout_seconds: float = Field(60.0, gt=0, le=240, description="Longest time of one insert, seconds.")
    stall_seconds: float = Field(
        120.0,
        gt=0,
        le=3600,
        description="Without progress of the writer for this long, although there is work, the process ends with status 75 (an insert that does not return even SINK_INSERT_TIMEOUT_SECONDS later, a consumer that hangs); a store or a Kafka that is away is waited for, seconds.",
    )
    settle_seconds: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="Copies of an event further apart than the processors' window are settled within this time, seconds.",
    )
    retention_days: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Days to keep events of tenants without days of their own (`chaukas-gateway retention set`), counted from receipt; 0: for ever.",
    )
    retention_run_hours: float = Field(
        24.0, gt=0, le=24 * 31, description="How often the writer drops what has expired, hours."
    )
    subject_paths: str = Field(
        "$.metadata.user_id",
        description="Where an event names the person it is about, for `chaukas-gateway erase --subject`: JSONPath on the event, several with spaces between.",
    )
    dead_letters_accepted_until: AwareDatetime | None = Field(
        None,
        description="RFC 3339. After a flood of dead letters stopped the sink: letters of records with an earlier Kafka time are accepted and no longer count as a flood. `chaukas-gateway dlq accept` says the same to running processes; the later time holds.",
    )
    query_timeout_seconds: float = Field(30.0, gt=0, le=600, description="Longest time of one query, seconds.")
    query_clients: int = Field(4, ge=1, le=64, description="Queries that run at once; the others wait in order.")
    query_tenant_clients: int = Field(
        0,
        ge=0,
        le=64,
        description="Queries of one tenant that run at once; 0: one fewer than SINK_QUERY_CLIENTS, so that another's need not wait for long ones.",
    )
    query_tenant_waiting: int = Field(
        128,
        ge=0,
        le=250,
        description="Queries of one tenant that wait for their turn; beyond, refused with a retry hint.",
    )
    query_tenant_seconds_per_minute: float = Field(
        0.0,
        ge=0,
        description="Seconds a minute that a tenant's queries may take together, on this query server; who took more is refused until it is made up for. 0: any number.",
    )
    query_max_rows: int = Field(
        1_000_000_000, ge=1000, description="Most rows one query may read; beyond, it is refused with a clear error."
    )
    query_max_bytes: int = Field(
        64 * 1024**3, ge=1024**2, description="Most bytes one query may read (uncompressed); beyond, it is refused."
    )
    query_max_memory_bytes: int = Field(
        1024**3, ge=16 * 1024**2, description="Most memory of the engine for one query, bytes."
    )
    memory_max_bytes: int = Field(
        2 * 1024**3,
        ge=256 * 1024**2,
        description="Memory cap of the embedded engine, bytes (a ClickHouse server has its own).",
    )

    @field_validator("subject_paths")
    @classmethod
    def _paths(cls, paths: str) -> str:
        for path in paths.split():
            try:
                jsonpath.compile(path)
            except jsonpath.JSONPathError as error:
                raise ValueError(f"`{path}` is no JSONPath: {str(error).splitlines()[0]}") from None
        return paths

    @property
    def accepted_until_ms(self) -> int:
        """:attr:`dead_letters_accepted_until` in Unix milliseconds; 0 when not set."""
        until: datetime | None = self.dead_letters_accepted_until
        return int(until.timestamp() * 1000) if until is not None else 0
