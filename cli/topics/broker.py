"""Reading topics from the brokers, and changing them. Everything blocks up to its timeout and raises Unavailable or TopicRefused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without __all__
    AdminClient,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from cli.topics.differences import PARTITIONS, Difference, Topic
from contracts.errors import Unavailable
from runtime.kafka import admin, topic_changes
from runtime.settings import KafkaSettings

#: Longest wait for one answer, seconds.
ANSWER_SECONDS = 10.0


class TopicRefused(Exception):
    """The brokers answer, and will not: a change that cannot be, or missing rights. The message says why."""


class Brokers:
    """The cluster's answers about our topics."""

    def __init__(self, settings: KafkaSettings, timeout_seconds: float = ANSWER_SECONDS) -> None:
        self._settings = settings
        self._timeout = timeout_seconds
        self._admin: AdminClient = admin(settings)

    def topics(self) -> dict[str, Topic]:
        """Those of our topics that exist."""
        names = [spec.name for spec in self._settings.topics.specs()]
        with self._clear():
            known = self._admin.list_topics(timeout=self._timeout).topics
        there = {name: known[name] for name in names if name in known and known[name].error is None}
        if not there:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in there]
        with self._clear():
            answers = self._admin.describe_configs(resources, request_timeout=self._timeout)
        found = {}
        for resource, future in answers.items():
            try:
                with self._clear():
                    config = future.result(self._timeout + 1)
            except _Gone:
                continue  # deleted between the two questions
            partitions = there[resource.name].partitions
            found[resource.name] = Topic(
                partitions=len(partitions),
                replicas=min((len(one.replicas) for one in partitions.values()), default=0),
                config={name: entry.value for name, entry in config.items() if entry.value is not None},
            )
        return found

    def set(self, changes: Iterable[Difference]) -> None:
        """Make each property what is desired; a refusal names the topic."""
        by_topic: dict[str, dict[str, str]] = {}
        for change in changes:
            if change.property == PARTITIONS:
                more = NewPartitions(change.topic, int(change.desired))
                self._wait(self._admin.create_partitions([more], request_timeout=self._timeout))
            else:
                by_topic.setdefault(change.topic, {})[change.property] = change.desired
        if by_topic:
            self._wait(self._admin.incremental_alter_configs(topic_changes(by_topic), request_timeout=self._timeout))

    def _wait(self, answers: Mapping[Any, Future[Any]]) -> None:
        for subject, future in answers.items():
            topic = getattr(subject, "name", subject)
            try:
                with self._clear():
                    future.result(self._timeout + 1)
            except (TopicRefused, _Gone) as error:
                raise TopicRefused(f"topic {topic}: {error}") from None

    @contextlib.contextmanager
    def _clear(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise Unavailable(f"Kafka at {self._settings.bootstrap_servers} does not answer in time") from None
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise _Gone(reason.str()) from None
            if reason.code() in _REFUSALS:
                raise TopicRefused(reason.str()) from None
            raise Unavailable(f"Kafka at {self._settings.bootstrap_servers} does not answer: {reason.str()}") from None


class _Gone(Exception):
    """The topic is not there any more."""


#: The brokers answered, and will not.
_REFUSALS = frozenset(
    {
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_REQUEST,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.POLICY_VIOLATION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
