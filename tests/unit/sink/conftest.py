"""Fixtures of the sink's unit tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.sink.consumer_loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()
