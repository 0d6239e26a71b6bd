"""A short run of what ``make fuzz`` runs for long, and the proof that it would notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.json_shapes import JsonShapes
from tests.fuzz.outcomes import Outcomes
from tests.fuzz.parsers import ParserFuzzer
from tests.fuzz.records import RecordFuzzer
from tests.fuzz.run import rng, run
from tests.fuzz.wire_shapes import WireShapes

REQUESTS = 4000


def test_no_request_at_any_door_brings_anything_down(tmp_path: Path) -> None:
    report = run(REQUESTS, 20261130, tmp_path)
    print(report.text())
    assert report.problems == []
    assert report.outcomes.total >= REQUESTS * 0.95
    assert report.witness_calls > 0


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_sends_the_same(seed: int) -> None:
    def made() -> list[bytes]:
        source = rng(seed, "x")
        wire, documents = WireShapes(source), JsonShapes(source)
        return [shape() for _ in range(100) for shape in (wire.single, wire.batch, wire.query, documents.event)]

    assert made() == made()


def test_a_defect_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser and a step that break now and then."""
    outcomes = Outcomes()
    source = rng(1, "defect")
    shapes = WireShapes(source)
    monkeypatch.setattr("tests.fuzz.parsers.parse_dsn", lambda text: 1 / 0)
    parsers = ParserFuzzer(source, shapes, JsonShapes(source), outcomes, tmp_path)
    for _ in range(200):
        parsers.one()
    assert any("ZeroDivisionError" in defect for defect in outcomes.defects)
    monkeypatch.setattr("tests.fuzz.configured.parse_rules", lambda text: [][0])
    for _ in range(200):
        parsers.one()
    assert any("redaction rules" in defect and "IndexError" in defect for defect in outcomes.defects)
    before = len(outcomes.defects)
    monkeypatch.setattr("processors.pipeline.pair", lambda state, event: 1 / 0)
    records = RecordFuzzer(source, shapes, outcomes)
    for _ in range(5):
        records.raw_batch()
    assert any("step_failed" in defect for defect in outcomes.defects[before:])
