"""What an erasure does not reach: records on Kafka, until the topics' own settings take them away."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]  # re-exported without __all__

from cli.client.usage import WrongUsage
from cli.dlq.cluster import kafka_settings
from runtime.kafka import admin
from runtime.settings import KafkaSettings

#: Longest wait for the brokers, seconds.
ANSWER_SECONDS = 5.0
_SETTINGS = ("retention.ms", "segment.ms", "retention.bytes")


def what_kafka_keeps() -> str:
    """Lines for a person: each topic with content, and the settings that bound how long. Blocks for some seconds at most."""
    lines = ["Kafka still has what it had. Its records go when these settings of each topic say so:"]
    try:
        settings = kafka_settings()
        topics = settings.topics
        names = [topics.raw, topics.enriched, topics.handoffs, topics.mcp_calls, topics.dead_letters]
        found = _configs(settings, names)
    except (KafkaException, WrongUsage) as error:
        return f"{lines[0]} retention.ms, segment.ms (Kafka did not answer: {error})"
    lines += [
        f"  {name}: {', '.join(_said(setting, found[name][setting].value) for setting in _SETTINGS)}" for name in names
    ]
    lines.append("  (a record goes with its whole segment: at most retention.ms + segment.ms after it came)")
    return "\n".join(lines)


def _configs(settings: KafkaSettings, names: list[str]) -> dict[str, Any]:
    client = admin(settings)
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    answers = client.describe_configs(resources, request_timeout=ANSWER_SECONDS)
    return {resource.name: future.result(ANSWER_SECONDS + 1) for resource, future in answers.items()}


def _said(setting: str, value: str | None) -> str:
    number = int(value or -1)
    if number < 0:
        return f"{setting}=-1 (no bound)"
    hours = f" ({number / 3_600_000:g} h)" if setting.endswith(".ms") else ""
    return f"{setting}={number}{hours}"
