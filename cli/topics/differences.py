"""What a topic is, what it should be, and which differences can be taken away. Pure.

The desired state is the one `up` and `topics ensure` create topics with (:func:`runtime.kafka.topic_config`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from contracts.topics import TopicSpec
from runtime.kafka import topic_config
from runtime.settings import KafkaSettings

PARTITIONS, REPLICAS = "partitions", "replication.factor"
_LIMIT, _INSYNC, _RETENTION = "max.message.bytes", "min.insync.replicas", "retention.ms"

MORE_PARTITIONS = (
    "Keys move: the partition of a session is its key's hash modulo the number of partitions. Of every session that is open "
    "now, later events lie in another partition than earlier ones. Order within such a session holds before and after the "
    "change, not across it. The processors' window is one per partition of the raw topic, so across the change no END meets "
    "its START (durations and MCP calls stay open), no hand-off is picked up, and a re-send is found by the store's settling "
    "(SINK_SETTLE_SECONDS) instead of at once; nothing is lost and nothing is stored twice. Sessions that begin later are not "
    "touched. A consumer of yours must read the old partitions to their end before it counts on order. It cannot be undone."
)
SHORTER_RETENTION = (
    "Kafka deletes what is older at once, also what no process has read yet; a replay reaches back no further."
)
_REPLICATION = (
    "it takes a reassignment, which copies whole partitions between brokers under a plan that only you can make "
    "(kafka-reassign-partitions.sh, or your operator's rebalance)"
)
_FEWER = (
    "Kafka cannot take partitions away; make the setting {actual}, or move to topics with another KAFKA_TOPIC_PREFIX"
)


class Action(enum.StrEnum):
    """What `apply` does about a difference."""

    CREATE = "create"
    SET = "set"
    #: Only with --i-know.
    RISKY = "set with --i-know"
    REFUSE = "refused"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the brokers describe it."""

    partitions: int
    #: Of the partition with the fewest.
    replicas: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """One property of one topic. `why` says what the action does or why there is none; empty when there is nothing to say."""

    topic: str
    property: str
    actual: str
    desired: str
    action: Action
    why: str = ""


def compare(settings: KafkaSettings, found: Mapping[str, Topic]) -> list[Difference]:
    """All differences, in the order of the topics. `found` holds those that exist."""
    return [one for spec in settings.topics.specs() for one in _of_topic(settings, spec, found.get(spec.name))]


def _of_topic(settings: KafkaSettings, spec: TopicSpec, topic: Topic | None) -> Iterator[Difference]:
    partitions = spec.partitions or settings.topic_partitions
    if topic is None:
        wanted = f"{partitions} × {settings.topic_replication_factor}"
        yield Difference(spec.name, "partitions × replicas", "missing", wanted, Action.CREATE)
        return
    if topic.partitions < partitions:
        keyed = spec.partitions is None
        risk = MORE_PARTITIONS if keyed else ""
        action = Action.RISKY if keyed else Action.SET
        yield Difference(spec.name, PARTITIONS, str(topic.partitions), str(partitions), action, risk)
    elif topic.partitions > partitions:
        why = _FEWER.format(actual=topic.partitions)
        yield Difference(spec.name, PARTITIONS, str(topic.partitions), str(partitions), Action.REFUSE, why)
    if topic.replicas != settings.topic_replication_factor:
        replicas = str(settings.topic_replication_factor)
        yield Difference(spec.name, REPLICAS, str(topic.replicas), replicas, Action.REFUSE, _REPLICATION)
    for name, value in _config(settings, spec, topic).items():
        actual = topic.config.get(name, "")
        if actual != value and not (name == _LIMIT and _number(actual) >= int(value)):
            yield _of_config(spec.name, name, actual, value, topic.replicas)


def _config(settings: KafkaSettings, spec: TopicSpec, topic: Topic) -> dict[str, str]:
    # Unless the operator names a number, it follows from the replicas there are: two in sync of one would stop every write.
    insync = settings.topic_min_insync_replicas or (topic.replicas + 1) // 2
    return {**topic_config(settings, spec), _INSYNC: str(insync)}


def _of_config(topic: str, name: str, actual: str, value: str, replicas: int) -> Difference:
    if name == _INSYNC and int(value) > replicas:
        why = f"the topic has {replicas} replicas: no record could be written"
        return Difference(topic, name, actual, value, Action.REFUSE, why)
    if name == _RETENTION and (_number(actual) < 0 or _number(actual) > int(value)):
        return Difference(topic, name, actual, value, Action.RISKY, SHORTER_RETENTION)
    return Difference(topic, name, actual, value, Action.SET)


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0
