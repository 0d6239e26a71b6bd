"""How to reach Kafka, shared by all processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.topics import DEFAULT_PREFIX, Topics

_PREFIX = "KAFKA_"
_MOST_HOURS = 24 * 36_500


class KafkaSettings(BaseSettings):
    """Any other variable ``KAFKA_<NAME>`` is passed to librdkafka as ``<name>`` with dots for underscores, for instance
    ``KAFKA_SECURITY_PROTOCOL`` as ``security.protocol`` or ``KAFKA_SASL_USERNAME`` as ``sasl.username``."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    bootstrap_servers: str = Field("127.0.0.1:9092", description="Comma-separated `host:port` of some brokers.")
    topic_prefix: str = Field(
        DEFAULT_PREFIX, pattern=r"^[A-Za-z0-9._-]{0,100}$", description="Put before every topic's name."
    )
    topic_partitions: int = Field(8, ge=1, le=10_000, description="Partitions of a topic when it is created.")
    topic_replication_factor: int = Field(1, ge=1, le=9, description="Replicas of a topic when it is created.")
    topic_min_insync_replicas: int = Field(
        0,
        ge=0,
        le=9,
        description="Replicas that must have a record before it counts as written (`min.insync.replicas`). 0: half of the replicas, rounded up, so that one of three may be away.",
    )
    topic_raw_retention_hours: float | None = Field(
        None,
        gt=0,
        le=_MOST_HOURS,
        description="How long the raw topic keeps what clients sent, hours; set on the topic when topics are made ready (`retention.ms`, and `segment.ms` a quarter of it, so records are gone after 1.25 times these hours and a few minutes). Empty: the broker's default, or what was set on the topic. See docs/privacy.md.",
    )
    topic_enriched_retention_hours: float | None = Field(
        None,
        gt=0,
        le=_MOST_HOURS,
        description="The same for the topics of enriched events, hand-offs and MCP calls.",
    )
    topic_dead_letters_retention_hours: float | None = Field(
        None, gt=0, le=_MOST_HOURS, description="The same for the topic of dead letters."
    )

    @model_validator(mode="after")
    def _writable(self) -> Self:
        if self.topic_min_insync_replicas > self.topic_replication_factor:
            raise ValueError(
                "KAFKA_TOPIC_MIN_INSYNC_REPLICAS is above KAFKA_TOPIC_REPLICATION_FACTOR: no record could be written"
            )
        return self

    @property
    def topics(self) -> Topics:
        return Topics(self.topic_prefix)

    @property
    def min_insync_replicas(self) -> int:
        """:attr:`topic_min_insync_replicas`, or what follows from the number of replicas."""
        return self.topic_min_insync_replicas or (self.topic_replication_factor + 1) // 2

    def retention_hours(self) -> dict[str, float]:
        """By topic, where it is set."""
        topics = self.topics
        hours = {
            topics.raw: self.topic_raw_retention_hours,
            topics.enriched: self.topic_enriched_retention_hours,
            topics.handoffs: self.topic_enriched_retention_hours,
            topics.mcp_calls: self.topic_enriched_retention_hours,
            topics.dead_letters: self.topic_dead_letters_retention_hours,
        }
        return {topic: kept for topic, kept in hours.items() if kept is not None}

    def group(self, configured: str, default: str) -> str:
        """The consumer group to join: the configured one, else `default`, with the topic prefix before it when that is not the
        usual one: two stacks on one cluster must not take each other's partitions."""
        own = "" if self.topic_prefix == DEFAULT_PREFIX else self.topic_prefix
        return configured or f"{own}{default}"

    def client_config(self, environment: Mapping[str, str] | None = None) -> dict[str, str]:
        """librdkafka properties common to every client: bootstrap servers and what is passed through."""
        config = {"bootstrap.servers": self.bootstrap_servers}
        own = {f"{_PREFIX}{name}".upper() for name in type(self).model_fields}
        for name, value in (os.environ if environment is None else environment).items():
            if name.startswith(_PREFIX) and name not in own and value:
                config[name.removeprefix(_PREFIX).lower().replace("_", ".")] = value
        return config
