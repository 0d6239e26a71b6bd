"""Kafka: reachable, topics as configured, replicas in sync, who lags behind, which letters wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported without __all__

from cli.doctor.findings import Finding, Severity
from cli.doctor.site import Site
from cli.render.text import count, plural
from cli.topics.broker import Brokers, TopicRefused
from cli.topics.differences import Action, compare
from contracts.errors import Unavailable
from runtime.kafka import admin
from runtime.settings import KafkaSettings

NAME, TOPICS, LAG, LETTERS = "Kafka", "topics", "lag", "dead letters"
#: Longest wait for one answer, seconds.
ANSWER_SECONDS = 5.0
#: Records a group may be behind before somebody should look.
LAG_RECORDS = 100_000
#: Letters younger than this wait for somebody, hours.
LETTER_HOURS = 24

_FIRST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_END: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]

Partition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group as the brokers see it: positions by partition, -1 where nothing was ever committed."""

    name: str
    members: int
    committed: dict[Partition, int]


def check(site: Site) -> Iterator[Finding]:
    """Blocks for some answers of ANSWER_SECONDS at most."""
    settings = site.kafka
    if settings is None:
        yield Finding(NAME, "brokers", Severity.SKIPPED, "its settings do not load")
        return
    where = settings.bootstrap_servers
    try:
        client = admin(settings)
        metadata = client.list_topics(timeout=ANSWER_SECONDS)
        brokers = plural(len(metadata.brokers), "broker")
        yield Finding(NAME, where, Severity.OK, f"{brokers} {'answers' if len(metadata.brokers) == 1 else 'answer'}")
        yield from _topics(settings)
        ours = {spec.name for spec in settings.topics.specs()}
        partitions = [
            (name, n) for name in sorted(ours & metadata.topics.keys()) for n in metadata.topics[name].partitions
        ]
        yield from in_sync(
            {
                (name, n): (len(one.isrs), len(one.replicas))
                for name, n in partitions
                if (one := metadata.topics[name].partitions[n])
            }
        )
        if partitions:
            first, end = (
                _offsets(client, partitions, _FIRST),
                _offsets(client, partitions, _END),
            )
            for group in _groups(client, site, settings, partitions):
                yield lag(group, first, end)
            yield _letters(client, settings, first, end)
    except (Unavailable, TopicRefused, KafkaException, TimeoutError) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) else str(error) or "no answer in time"
        yield Finding(
            NAME, where, Severity.ERROR, reason, "is KAFKA_BOOTSTRAP_SERVERS right, and does the cluster run?"
        )


def _topics(settings: KafkaSettings) -> Iterator[Finding]:
    differences = compare(settings, Brokers(settings, ANSWER_SECONDS).topics())
    optional = {spec.name for spec in settings.topics.specs() if spec.optional}
    for one in differences:
        missing = one.action is Action.CREATE and one.topic not in optional
        severity = Severity.ERROR if missing or one.property == "max.message.bytes" else Severity.WARNING
        message = f"{one.property} is {one.actual}, should be {one.desired}"
        remedy = one.why or "`chaukas-gateway topics apply`"
        if one.action is Action.RISKY:
            remedy = "`chaukas-gateway topics apply` says what it would do, --i-know does it"
        yield Finding(TOPICS, one.topic, severity, message, remedy)
    if not differences:
        yield Finding(TOPICS, settings.topics.prefix + "*", Severity.OK, "as the settings say")


def in_sync(replicas: dict[Partition, tuple[int, int]]) -> Iterator[Finding]:
    """`replicas`: in sync, and all, by partition."""
    behind = sorted(f"{topic}-{number}" for (topic, number), (synced, there) in replicas.items() if synced < there)
    if behind:
        more = f" and {len(behind) - 3} more" if len(behind) > 3 else ""
        message = f"replicas not in sync: {', '.join(behind[:3])}{more}"
        yield Finding(
            NAME,
            "replicas",
            Severity.WARNING,
            message,
            "is a broker away? below min.insync.replicas nothing is accepted",
        )
    elif replicas:
        yield Finding(NAME, "replicas", Severity.OK, f"all in sync ({plural(len(replicas), 'partition')})")


def lag(group: Group, first: dict[Partition, int], end: dict[Partition, int]) -> Finding:
    """How far a group is behind, and whether retention has overtaken it. `first`, `end`: offsets there are."""
    lost = behind = 0
    for partition, position in group.committed.items():
        start, stop = first.get(partition, 0), end.get(partition, 0)
        if 0 <= position < start:
            lost += start - position
        behind += max(0, stop - max(position, start))
    if lost:
        message = f"{plural(lost, 'record')} expired before this group read them"
        return Finding(
            LAG, group.name, Severity.ERROR, message, "lengthen the topic's retention; find out why it stood still"
        )
    members = plural(group.members, "member")
    if behind and not group.members:
        return Finding(
            LAG,
            group.name,
            Severity.ERROR,
            f"{plural(behind, 'record')} wait and nobody reads",
            "start its processes; docs/dead_letters.md tells why they may have stopped",
        )
    if behind > LAG_RECORDS:
        return Finding(
            LAG,
            group.name,
            Severity.WARNING,
            f"{plural(behind, 'record')} behind, {members}",
            "add processes (never more than partitions), or see which is slow",
        )
    return Finding(LAG, group.name, Severity.OK, f"{plural(behind, 'record')} behind, {members}")


def _groups(client: AdminClient, site: Site, settings: KafkaSettings, partitions: list[Partition]) -> Iterator[Group]:
    topics = settings.topics
    read = {}
    if site.processors is not None:
        read[settings.group(site.processors.group, "chaukas-processors")] = {topics.raw}
    if site.sink is not None:
        stored = {topics.enriched, topics.handoffs, topics.mcp_calls, topics.dead_letters}
        read[settings.group(site.sink.group, "chaukas-sink")] = stored
    described = client.describe_consumer_groups(list(read), request_timeout=ANSWER_SECONDS) if read else {}
    for name, names in read.items():
        wanted = [TopicPartition(*one) for one in partitions if one[0] in names]
        asked = client.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(name, wanted)], request_timeout=ANSWER_SECONDS
        )
        answer: Any = asked[name].result(ANSWER_SECONDS + 1)
        committed = {
            (one.topic, one.partition): one.offset if one.offset >= 0 else -1 for one in answer.topic_partitions
        }
        yield Group(name, len(described[name].result(ANSWER_SECONDS + 1).members), committed)


def _letters(
    client: AdminClient, settings: KafkaSettings, first: dict[Partition, int], end: dict[Partition, int]
) -> Finding:
    topic = settings.topics.dead_letters
    mine = [partition for partition in end if partition[0] == topic]
    there = sum(end[one] - first.get(one, 0) for one in mine)
    recent = 0
    if there:
        since = OffsetSpec.for_timestamp(int((time.time() - LETTER_HOURS * 3600) * 1000))
        # -1: none is as young.
        young = _offsets(client, mine, since)
        recent = sum(end[one] - young[one] for one in mine if young.get(one, -1) >= 0)
    message = f"{count(recent)} of the last {LETTER_HOURS} h wait, {count(there)} on the topic"
    if recent:
        return Finding(LETTERS, topic, Severity.WARNING, message, "`chaukas-gateway dlq list`, then show, replay")
    return Finding(LETTERS, topic, Severity.OK, message)


def _offsets(client: AdminClient, partitions: list[Partition], spec: OffsetSpec) -> dict[Partition, int]:
    asked = client.list_offsets({TopicPartition(*one): spec for one in partitions}, request_timeout=ANSWER_SECONDS)
    return {(one.topic, one.partition): future.result(ANSWER_SECONDS + 1).offset for one, future in asked.items()}
