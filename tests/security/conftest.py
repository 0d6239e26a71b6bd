"""One whole stack that says everything it can: every process logs at DEBUG."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stack import Stack

#: Hostile records are what is expected here: no flood of dead letters stops a process.
FAR = "2200-01-01T00:00:00Z"


@pytest.fixture(scope="session")
def loud_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole system, each process at DEBUG."""
    environment = {f"{name}_LOG_LEVEL": "debug" for name in ("GATEWAY", "PROCESSORS", "SINK")}
    environment |= {f"{name}_DEAD_LETTERS_ACCEPTED_UNTIL": FAR for name in ("PROCESSORS", "SINK")}
    running = Stack(tmp_path_factory.mktemp("loud"), environment)
    try:
        running.up()
        yield running
    finally:
        running.down()
