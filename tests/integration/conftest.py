"""Real parts, started once per test session on free ports, and gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.broker import Broker
from tests.support.stack import Client, Stack


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/integration" in item.nodeid:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for all tests that bring their own topics (`kafka.create_topics(prefix)`); one proxied network, `gateway`."""
    broker = Broker.prepare(tmp_path_factory.mktemp("kafka"), proxied=["gateway"])
    broker.start()
    yield broker
    broker.close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole system."""
    running = Stack(tmp_path_factory.mktemp("stack"))
    try:
        running.up()
        yield running
    finally:
        running.down()


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    made = Client(stack)
    yield made
    made.close()
