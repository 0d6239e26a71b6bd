"""Settings of the stream processors."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from runtime.settings.base import ProcessSettings


class ProcessorsSettings(ProcessSettings):
    model_config = SettingsConfigDict(env_prefix="PROCESSORS_")

    group: str = Field("chaukas-processors", min_length=1, description="Kafka consumer group.")
    window_offsets: int = Field(
        50_000,
        ge=10,
        le=10_000_000,
        description="How far back, in offsets of one partition, an event can be related to another.",
    )
    http_host: str = Field("127.0.0.1", description="Address of the status page.")
    http_port: int = Field(
        9102, ge=0, le=65535, description="Port of the status page of instance 0; instance n listens n higher."
    )
    instance: int = Field(0, ge=0, le=1000, description="Number of this process on its machine.")
