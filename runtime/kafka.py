"""Kafka clients with the delivery settings the product's promises rest on, and the topics.

``acks=all`` and idempotence: a delivery report means the record is on all in-sync replicas, once, in order.
``murmur2_random``: the same partition as Java and Faust choose for a key (librdkafka's own default is CRC32).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from contracts.errors import Unavailable
from contracts.topics import TopicSpec
from runtime.kafka_log import kafka_logger
from runtime.settings.kafka import KafkaSettings

#: Everything a durable, ordered producer needs; merged last, so that no setting weakens a promise.
DURABLE = {"acks": "all", "enable.idempotence": True, "partitioner": "murmur2_random"}


#: What a producer's calls raise, except ``BufferError`` for a full queue; ``args[0]`` is the ``KafkaError``.
ProduceRefused = KafkaException


#: Shorter segments are only many files, milliseconds.
MIN_SEGMENT_MS = 60_000


class TopicMisconfigured(Exception):
    """A topic exists but cannot hold what it must; the message names the setting and the remedy."""


def producer_config(
    settings: KafkaSettings, *, max_message_bytes: int, delivery_seconds: float, linger_ms: float
) -> dict[str, Any]:
    """librdkafka configuration of a durable producer. `delivery_seconds` bounds a record's whole way to its report."""
    return {
        "linger.ms": linger_ms,
        "message.max.bytes": max_message_bytes,
        "message.timeout.ms": int(delivery_seconds * 1000),
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": 512 * 1024,
        **settings.client_config(),
        **DURABLE,
    }


def durable_producer(config: Mapping[str, Any]) -> Producer:
    return Producer(dict(config), logger=kafka_logger())


def reader_config(settings: KafkaSettings, purpose: str) -> dict[str, Any]:
    """librdkafka configuration of a consumer that reads partitions given to it: in no group, committing nothing.

    What the operator set for members of a group is left out: it need not fit the defaults of the rest.
    """
    own = {name: value for name, value in settings.client_config().items() if not _is_about_groups(name)}
    return {
        "log_level": 0,
        **own,
        "group.id": f"{purpose}-{uuid.uuid4()}",  # librdkafka wants one
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
    }


def _is_about_groups(name: str) -> bool:
    return name.startswith("group.") or name in (
        "session.timeout.ms",
        "heartbeat.interval.ms",
        "max.poll.interval.ms",
        "partition.assignment.strategy",
    )


def admin(settings: KafkaSettings) -> AdminClient:
    # Its log lines are served by nobody and would go to stderr as they are; its errors are raised where it is used.
    return AdminClient({"log_level": 0, **settings.client_config()})


def ensure_topics(
    settings: KafkaSettings, timeout_seconds: float = 30.0, *, change_retention: bool = True
) -> list[str]:
    """Create what is missing, and set the retention that the settings name; returns the created names.

    Without `change_retention` topics that exist keep theirs. Blocks up to the timeout. Raises Unavailable or TopicMisconfigured.
    """
    client = admin(settings)
    specs = settings.topics.specs()
    try:
        existing = client.list_topics(timeout=timeout_seconds).topics
    except KafkaException as error:
        raise Unavailable(f"Kafka at {settings.bootstrap_servers} does not answer: {error}") from error
    missing = [spec for spec in specs if spec.name not in existing]
    created: list[str] = []
    if missing:
        wanted = [
            NewTopic(
                spec.name,
                num_partitions=spec.partitions or settings.topic_partitions,
                replication_factor=settings.topic_replication_factor,
                config=topic_config(settings, spec),
            )
            for spec in missing
        ]
        for name, future in client.create_topics(wanted, operation_timeout=timeout_seconds).items():
            try:
                future.result(timeout_seconds)
                created.append(name)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            check_topics(settings, timeout_seconds)
            if change_retention:
                _set_retention(client, settings, timeout_seconds)
            return created
        except TopicMisconfigured:
            # The broker that answers may not have heard yet of what another one has just created.
            if not missing or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def topic_config(settings: KafkaSettings, spec: TopicSpec) -> dict[str, str]:
    """What a topic is configured with. `max.message.bytes` is the least; retention only where the settings say one."""
    hours = settings.retention_hours().get(spec.name)
    return {
        "max.message.bytes": str(spec.max_message_bytes),
        "cleanup.policy": "compact" if spec.compacted else "delete",
        "min.insync.replicas": str(settings.min_insync_replicas),
        # A record's time is that of its receipt, on every topic: LogAppendTime would make a replay look new.
        "message.timestamp.type": "CreateTime",
        # Else a replica that lacks confirmed records may become the leader, and they are gone.
        "unclean.leader.election.enable": "false",
        **(retention_config(hours) if hours is not None else {}),
    }


def retention_config(hours: float) -> dict[str, str]:
    """A topic's configuration that keeps records that long. Kafka deletes whole segments, each when its youngest record is old
    enough: with a segment's span on top, a record is gone after 1.25 times the hours."""
    kept_ms = int(hours * 3_600_000)
    return {"retention.ms": str(kept_ms), "segment.ms": str(max(kept_ms // 4, MIN_SEGMENT_MS))}


def topic_changes(properties: Mapping[str, Mapping[str, str]]) -> list[ConfigResource]:
    """For ``AdminClient.incremental_alter_configs``: each topic's properties, one operation each, so what else is set stays."""
    return [
        ConfigResource(
            ResourceType.TOPIC,
            topic,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in wanted.items()
            ],
        )
        for topic, wanted in properties.items()
    ]


def _set_retention(client: AdminClient, settings: KafkaSettings, timeout_seconds: float) -> None:
    resources = topic_changes({topic: retention_config(hours) for topic, hours in settings.retention_hours().items()})
    if not resources:
        return
    for resource, future in client.incremental_alter_configs(resources, request_timeout=timeout_seconds).items():
        try:
            future.result(timeout_seconds + 1)
        except KafkaException as error:
            raise TopicMisconfigured(
                f"topic {resource.name}: its retention cannot be set: {error.args[0].str()}"
            ) from None


def check_topics(settings: KafkaSettings, timeout_seconds: float = 10.0) -> None:
    """Every topic that a process needs exists and takes the largest legal record. Blocks. Raises Unavailable or TopicMisconfigured."""
    client = admin(settings)
    specs: dict[str, TopicSpec] = {spec.name: spec for spec in settings.topics.specs()}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in specs]
    for resource, future in client.describe_configs(resources, request_timeout=timeout_seconds).items():
        spec = specs[resource.name]
        try:
            limit = int(future.result(timeout_seconds + 1)["max.message.bytes"].value)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                if spec.optional:
                    continue
                raise TopicMisconfigured(f"topic {spec.name} does not exist; create the topics first") from None
            raise Unavailable(f"Kafka at {settings.bootstrap_servers} does not answer: {error}") from error
        if limit < spec.max_message_bytes:
            raise TopicMisconfigured(
                f"topic {spec.name}: max.message.bytes is {limit}, needed are {spec.max_message_bytes} or more"
            )
