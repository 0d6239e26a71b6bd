"""A real embedded engine per module, empty for every test. (A process can have one data directory open at a time.)"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.settings import SinkSettings, load
from sink.query.engine import Engine
from sink.store import Store
from tests.support.stored import clear, open_store


@pytest.fixture(scope="module")
def engine_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(tmp_path_factory.mktemp("store"))
    yield opened
    opened.close()


@pytest.fixture
def store(engine_store: Store) -> Store:
    clear(engine_store)
    return engine_store


@pytest.fixture(scope="session")
def settings() -> SinkSettings:
    return load(SinkSettings, grpc_port=0, token="between-us", query_timeout_seconds=30)


@pytest.fixture
def engine(store: Store, settings: SinkSettings) -> Engine:
    return Engine(store, settings)


@pytest.fixture(scope="session")
def sink_settings(settings: SinkSettings) -> SinkSettings:
    """:func:`settings`, where hypothesis has that name."""
    return settings
