"""One whole stack that says everything it can: every process logs at DEBUG and sends its spans."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.otlp import Collector
from tests.support.stack import Stack

#: Hostile records are what is expected here: no flood of dead letters stops a process.
FAR = "2200-01-01T00:00:00Z"


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Where the stack's spans go."""
    running = Collector()
    yield running
    running.close()


@pytest.fixture(scope="session")
def loud_stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Stack]:
    """The whole system, each process at DEBUG, each call traced."""
    environment = {f"{name}_LOG_LEVEL": "debug" for name in ("GATEWAY", "PROCESSORS", "SINK")}
    environment |= {f"{name}_DEAD_LETTERS_ACCEPTED_UNTIL": FAR for name in ("PROCESSORS", "SINK")}
    environment |= {"TRACING_OTLP_ENDPOINT": collector.endpoint, "TRACING_SAMPLE_RATIO": "1"}
    environment |= {"OTEL_BSP_SCHEDULE_DELAY": "200"}
    running = Stack(tmp_path_factory.mktemp("loud"), environment)
    try:
        running.up()
        yield running
    finally:
        running.down()
