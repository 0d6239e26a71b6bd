"""What the sink reads from Kafka: which topics, with which client, and what a record is to the pure parts."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from operator import methodcaller
from typing import Any

from confluent_kafka import Message

from contracts.dead_letters import SourceRecord
from contracts.topics import ENRICHED_MAX_BYTES, Topics
from runtime.kafka_headers import headers_of_all
from runtime.settings import KafkaSettings

#: What librdkafka fetches ahead, kilobytes.
FETCH_AHEAD_KBYTES = 64 * 1024


def consumer_config(settings: KafkaSettings, group: str, instance: str = "") -> dict[str, Any]:
    """librdkafka configuration: nothing is committed or stored behind the loop's back.

    `instance` names a process that is the only one of its name (static membership): killed and started again it goes on at
    once, instead of waiting until the group has given its predecessor up. The topics are part of the name, because a broker
    gives a known static member its old assignment whatever it subscribes to now.
    """
    topics = zlib.crc32(" ".join(subscription(settings.topics)).encode())
    return {
        "auto.offset.reset": "earliest",
        "queued.max.messages.kbytes": FETCH_AHEAD_KBYTES,
        "max.partition.fetch.bytes": ENRICHED_MAX_BYTES,
        "fetch.wait.max.ms": 100,
        "session.timeout.ms": 10_000,
        **settings.client_config(),
        "group.id": group,
        **({"group.instance.id": f"{instance}-{topics:08x}"} if instance else {}),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "partition.assignment.strategy": "range",
    }


def subscription(topics: Topics) -> list[str]:
    """Everything that becomes rows."""
    return [topics.enriched, topics.handoffs, topics.mcp_calls, topics.dead_letters]


_TOPIC, _PARTITION, _OFFSET, _KEY, _VALUE, _TIMESTAMP = map(
    methodcaller, ("topic", "partition", "offset", "key", "value", "timestamp")
)


def source_records(messages: Sequence[Message]) -> list[SourceRecord]:
    """`messages`, none of them an error, as the pure parts know them. Field by field: a call per record costs three times that."""
    fields = zip(
        map(_TOPIC, messages),
        map(_PARTITION, messages),
        map(_OFFSET, messages),
        map(_KEY, messages),
        map(_VALUE, messages),
        headers_of_all(messages),
        [timestamp_ms for _, timestamp_ms in map(_TIMESTAMP, messages)],
        strict=True,
    )
    return list(map(SourceRecord._make, fields))
