"""Settings of the front door."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from contracts.topics import MAX_EVENT_BYTES, MIB
from runtime.pepper import MIN_CHARS
from runtime.settings.tls import ListeningSettings

#: Signatures with a key pair; a shared secret (HS…) would be one that every reader of the public keys has, too.
TOKEN_ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"}
)


class GatewaySettings(ListeningSettings):
    model_config = SettingsConfigDict(env_prefix="GATEWAY_")

    grpc_host: str = Field("127.0.0.1", description="Address the gRPC door listens on.")
    grpc_port: int = Field(50051, ge=0, le=65535, description="Port of the gRPC door; several processes may share it.")
    http_host: str = Field("127.0.0.1", description="Address the HTTP door listens on.")
    http_port: int = Field(8080, ge=0, le=65535, description="Port of the HTTP door; several processes may share it.")
    instance: int = Field(0, ge=0, le=1000, description="Number of this process among those that share the ports.")
    status_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of a status page of this process alone (`/readyz`, `/healthz`, `/metrics`), on the HTTP door's address; instance n listens n higher. For processes that share their ports: the doors answer for whichever process gets the connection. 0: none; in the local stack: a free port.",
    )
    metrics_dir: Path | None = Field(
        None,
        description="Directory in which processes that share their ports keep their metrics, so that any of them shows the sums of all on `/metrics`; each needs its own `GATEWAY_INSTANCE`. To be emptied when all are started anew; the local stack sets it and does so. Empty: a process shows its own.",
    )
    keys_file: Path = Field(
        Path(".chaukas/keys.json"),
        description="API keys (see `chaukas-gateway keys`); reloaded within a second of a change.",
    )
    keys_pepper: SecretStr = Field(
        SecretStr(""),
        description=f"Seals the hashes in the key file; at least {MIN_CHARS} characters, the same for the gateways and `chaukas-gateway keys`. With another one all keys are void. Empty: the file named as the key file with `.pepper` behind it, made with the first key (for development: it lies beside what it protects).",
    )
    oidc_jwks_file: Path | None = Field(
        None,
        description="Public keys (JWKS) of an OIDC issuer whose tokens are accepted beside API keys; reloaded within a second of a change. Empty: none.",
    )
    oidc_issuer: str = Field("", description="The tokens' claim `iss` must be this.")
    oidc_audience: str = Field("", description="The tokens' claim `aud` must be this, or hold it.")
    oidc_algorithms: str = Field(
        "RS256,ES256",
        description=f"Algorithms a token may be signed with, comma-separated: {', '.join(sorted(TOKEN_ALGORITHMS))}.",
    )
    oidc_leeway_seconds: int = Field(
        30, ge=0, le=600, description="How far the issuer's clock may differ from ours, seconds."
    )
    oidc_tenant_claim: str = Field("tenant_id", min_length=1, description="The claim that names the tenant.")
    oidc_projects_claim: str = Field(
        "projects",
        description='The claim that lists the projects, or is `"*"` for all of them. Set to `-`: every token is for all projects of its tenant.',
    )
    oidc_scopes_claim: str = Field(
        "scope",
        min_length=1,
        description="The claim that holds the scopes (`ingest`, `query`, `admin`), a list or words in a text; other words are ignored.",
    )
    sink_target: str = Field("127.0.0.1:50052", description="gRPC target of the sink, for queries.")
    sink_token: SecretStr = Field(
        SecretStr(""), description="Proves to the sink that it is the gateway; equal to SINK_TOKEN."
    )
    sink_tls: bool = Field(
        False, description="Speak TLS with the sink, and check its certificate; implied by the three files below."
    )
    sink_ca_file: Path | None = Field(
        None,
        description="CA (PEM) of the sink's certificate; empty: those that gRPC knows. Read again when it changes.",
    )
    sink_cert_file: Path | None = Field(
        None, description="Certificate (PEM) to show to the sink (mTLS). Read again when it changes."
    )
    sink_key_file: Path | None = Field(None, description="Its private key (PEM).")
    event_max_bytes: int = Field(
        MAX_EVENT_BYTES, ge=1024, le=MAX_EVENT_BYTES, description="Largest accepted event, bytes."
    )
    batch_max_events: int = Field(1000, ge=1, le=100_000, description="Most events in a gRPC or JSON batch.")
    batch_max_bytes: int = Field(4 * MIB, ge=1024, le=64 * MIB, description="Largest gRPC or JSON batch, bytes.")
    grpc_max_receive_bytes: int = Field(
        16 * MIB, ge=1024, le=256 * MIB, description="Largest gRPC message that is read at all, bytes."
    )
    grpc_message_seconds: float = Field(
        30.0, gt=0, le=600, description="Longest time a gRPC request message may take to arrive, seconds."
    )
    grpc_slow_messages: int = Field(
        32,
        ge=1,
        le=100_000,
        description="gRPC messages that are not there 0.25 s after their call began; beyond, such calls are refused with a retry hint. Times the largest message, it bounds what slow clients hold.",
    )
    grpc_max_metadata_bytes: int = Field(
        16 * 1024, ge=1024, le=MIB, description="Largest metadata of a gRPC call that is read, bytes."
    )
    grpc_max_streams: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="Calls a gRPC client may have open on one connection; its others wait there.",
    )
    grpc_max_connections: int = Field(
        4000, ge=1, le=1_000_000, description="gRPC connections; beyond, a new one is closed before it is served."
    )
    grpc_connection_age_seconds: float = Field(
        600.0,
        gt=0,
        le=7 * 86400,
        description="A gRPC connection this old (give or take 10 %) is closed in order and its client connects anew, so that load spreads evenly over processes, seconds.",
    )
    grpc_connection_grace_seconds: float = Field(
        60.0, ge=1, le=3600, description="What calls under way on such a connection have left, seconds."
    )
    grpc_keepalive_seconds: float = Field(
        60.0,
        ge=0.1,
        le=7200,
        description="A gRPC client that is silent for this long is asked whether it is there, seconds.",
    )
    grpc_keepalive_timeout_seconds: float = Field(
        20.0, ge=0.1, le=600, description="Without an answer for this long, its connection is closed, seconds."
    )
    grpc_min_ping_seconds: float = Field(
        10.0,
        ge=0.1,
        le=3600,
        description="A gRPC client that pings more often than this, three times, is disconnected (`too_many_pings`), seconds.",
    )
    http_max_body_bytes: int = Field(64 * MIB, ge=1024, le=1024 * MIB, description="Largest HTTP body, bytes.")
    http_body_seconds: float = Field(30.0, gt=0, le=600, description="Longest time a request body may take, seconds.")
    http_answer_seconds: float = Field(
        30.0, gt=0, le=600, description="Longest time a client may take to read an answer, seconds."
    )
    http_max_connections: int = Field(
        4000,
        ge=1,
        le=1_000_000,
        description="HTTP connections; beyond, calls are answered 503 with `Retry-After` (probes as ever), and beyond 1.25 times as many a new one is closed.",
    )
    http_keep_alive_seconds: float = Field(
        75.0,
        gt=0,
        le=3600,
        description="An idle HTTP connection is closed after this; longer than clients keep one (httpx: 5), so that it is they who close it, seconds.",
    )
    inflight_max_calls: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Calls this process works on at once; beyond, it refuses with a retry hint.",
    )
    inflight_max_bytes: int = Field(
        256 * MIB,
        ge=1024,
        le=16384 * MIB,
        description="Request bytes this process holds at once; beyond, it refuses with a retry hint.",
    )
    tenant_events_per_second: float = Field(
        0.0, ge=0, description="Events a tenant may send a second, over all gateways; 0: any number."
    )
    tenant_bytes_per_second: float = Field(
        0.0, ge=0, description="Bytes of requests a tenant may send a second, over all gateways; 0: any number."
    )
    key_events_per_second: float = Field(
        0.0,
        ge=0,
        description="Events a key or token may send a second, unless `keys create` gave it a number of its own; 0: any number.",
    )
    key_bytes_per_second: float = Field(
        0.0, ge=0, description="Bytes of requests a key or token may send a second, in the same way; 0: any number."
    )
    quota_burst_seconds: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="What may come at once after a pause, in seconds of the rate. A request larger than that passes when all of it is there, and is waited for afterwards.",
    )
    quota_processes: int = Field(
        1,
        ge=1,
        le=10_000,
        description="Gateway processes of the deployment: each grants its part of every quota (`chaukas-gateway up` sets it).",
    )
    deadline_seconds: float = Field(10.0, gt=0, le=300, description="Deadline of callers that set none, seconds.")
    delivery_seconds: float = Field(
        8.0,
        gt=0,
        le=300,
        description="Longest wait for Kafka's delivery report (`message.timeout.ms`); below the callers' deadlines, seconds.",
    )
    linger_ms: float = Field(
        2.0, ge=0, le=1000, description="How long librdkafka gathers records before it sends, milliseconds."
    )
    kafka_check_seconds: float = Field(
        5.0, gt=0, le=60, description="How often the gateway asks whether Kafka answers, for its readiness, seconds."
    )

    @field_validator("keys_pepper")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < MIN_CHARS:
            raise ValueError(f"a pepper has at least {MIN_CHARS} characters")
        return value

    @field_validator("oidc_algorithms")
    @classmethod
    def _known_algorithms(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",") if name.strip()]
        if not names or not TOKEN_ALGORITHMS.issuperset(names):
            raise ValueError("names none, or one that is not of the list")
        return ",".join(names)

    @model_validator(mode="after")
    def _sinks_files_are_whole(self) -> Self:
        if (self.sink_cert_file is None) != (self.sink_key_file is None):
            raise ValueError("GATEWAY_SINK_CERT_FILE and GATEWAY_SINK_KEY_FILE go together")
        return self

    @model_validator(mode="after")
    def _oidc_is_whole(self) -> Self:
        if self.oidc_jwks_file is not None and not (self.oidc_issuer and self.oidc_audience):
            raise ValueError("GATEWAY_OIDC_JWKS_FILE needs GATEWAY_OIDC_ISSUER and GATEWAY_OIDC_AUDIENCE")
        return self
