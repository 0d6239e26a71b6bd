from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from sink import garbage


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


class Cycle:
    def __init__(self) -> None:
        self.itself = self


def test_a_writer_is_not_interrupted_by_its_batches_and_loses_its_cycles_when_asked() -> None:
    garbage.arrange(writes=True)
    collections = sum(generation["collections"] for generation in gc.get_stats())
    lost = weakref.ref(Cycle())
    containers = [[number] for number in range(300_000)]
    assert sum(generation["collections"] for generation in gc.get_stats()) == collections
    assert lost() is not None
    garbage.collect()
    assert lost() is None
    assert len(containers) == 300_000


def test_a_query_server_collects_by_itself() -> None:
    garbage.arrange(writes=False)
    lost = weakref.ref(Cycle())
    containers = [[number] for number in range(300_000)]
    assert lost() is None
    assert len(containers) == 300_000
