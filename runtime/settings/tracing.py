"""Whether and where spans are sent, shared by all processes."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class TracingSettings(BaseSettings):
    """Without an endpoint there are no spans, and OpenTelemetry is not even imported ([tracing.md](tracing.md)). The exporter also
    takes its standard variables: `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_CERTIFICATE`, `OTEL_EXPORTER_OTLP_TIMEOUT`,
    `OTEL_EXPORTER_OTLP_COMPRESSION`, `OTEL_BSP_SCHEDULE_DELAY`, `OTEL_RESOURCE_ATTRIBUTES`."""

    model_config = SettingsConfigDict(env_prefix="TRACING_", frozen=True, extra="ignore", env_ignore_empty=True)

    otlp_endpoint: str = Field(
        "",
        description="Base address of an OTLP collector (HTTP with protobuf, `http://collector:4318`); spans go to `/v1/traces` below it. Needs the extra `tracing`, which the image has. Empty: no tracing.",
    )
    sample_ratio: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Part of the calls without a `traceparent` that is traced. A caller's own decision (its sampled flag) always holds.",
    )
    queue_spans: int = Field(
        4096,
        ge=512,
        le=1_000_000,
        description="Most spans of a process that wait to be sent; more are dropped and counted.",
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _address(cls, endpoint: str) -> str:
        if endpoint:
            parts = urlsplit(endpoint)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
                raise ValueError(
                    "must be http://host:port or https://host:port; a token goes into OTEL_EXPORTER_OTLP_HEADERS"
                )
        return endpoint.rstrip("/")
