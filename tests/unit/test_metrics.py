"""The catalogue of metrics is whole, current in the docs, and of low cardinality."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter

import gateway.metrics
import processors.metrics
import sink.metrics
from gateway.metrics import GatewayMetrics
from processors.metrics import Metrics, TransportCollector
from runtime.catalogue import Entry, common, entries_of
from sink.metrics import SinkMetrics
from sink.process import process_registry
from sink.query.metrics import QueryMetrics
from tests.unit.processors.transport.test_consumer import Rig

ROOT = Path(__file__).parents[2]
PARTS = ("runtime.catalogue", "gateway.metrics", "processors.metrics", "sink.metrics")
#: Labels whose values are ours, or as many as there are partitions.
LABELS = {"door", "method", "code", "field", "error", "fate", "kind", "revision", "reason", "partition", "topic"}
LABELS |= {"table", "marked_by", "fault", "as_", "quota"}

ENTRIES: list[Entry] = [
    *common(),
    *gateway.metrics.catalogue(),
    *processors.metrics.catalogue(),
    *sink.metrics.catalogue(),
]


def test_the_page_is_current() -> None:
    made = "".join(
        subprocess.run([sys.executable, "-m", part], capture_output=True, text=True, check=True, cwd=ROOT).stdout
        for part in PARTS
    )
    assert (ROOT / "docs" / "metrics.md").read_text() == made, "run `make docs`"


def test_names_are_unique_and_say_their_unit() -> None:
    names = [entry.name for entry in ENTRIES]
    assert len(names) == len(set(names))
    for entry in ENTRIES:
        base = entry.name.removesuffix("_total")
        for unit in ("seconds", "bytes", "records"):
            if base.endswith(f"_{unit}") and entry.unit != "Unix seconds":
                assert entry.unit == unit, entry
        assert entry.what.endswith("."), entry
        assert entry.moves.endswith("."), entry


def test_no_label_holds_what_clients_choose() -> None:
    assert {label for entry in ENTRIES for label in entry.labels} <= LABELS


def test_a_metric_without_unit_and_meaning_is_refused() -> None:
    class Holder:
        def __init__(self) -> None:
            self.bare = Counter("bare", "Says nothing.", registry=CollectorRegistry())

    with pytest.raises(TypeError, match="bare"):
        list(entries_of(Holder()))


async def test_every_metric_that_a_process_shows_is_in_the_catalogue() -> None:
    rig = Rig()
    workers = CollectorRegistry()
    Metrics(workers)
    workers.register(TransportCollector(lambda: rig.consumer))
    store = process_registry()
    SinkMetrics(store)
    QueryMetrics(store)
    known = {(entry.name.removesuffix("_total"), entry.kind) for entry in ENTRIES}
    for registry in (GatewayMetrics().registry, workers, store):
        shown = {(family.name, family.type) for family in registry.collect()}
        assert shown <= known, shown - known
