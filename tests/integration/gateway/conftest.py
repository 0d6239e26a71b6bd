"""One gateway on the session's broker, with topics of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.settings import KafkaSettings
from tests.integration.gateway.harness import RawTopic, RunningGateway
from tests.support.broker import Broker


@pytest.fixture(scope="session")
def gateway_topics(kafka: Broker) -> KafkaSettings:
    return kafka.create_topics("gw.", partitions=4)


@pytest.fixture(scope="session")
def gateway(gateway_topics: KafkaSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    running = RunningGateway(gateway_topics, tmp_path_factory.mktemp("gateway"))
    running.wait_ready()
    yield running
    running.stop()


@pytest.fixture
def raw(gateway_topics: KafkaSettings) -> Iterator[RawTopic]:
    reader = RawTopic(gateway_topics)
    yield reader
    reader.close()
