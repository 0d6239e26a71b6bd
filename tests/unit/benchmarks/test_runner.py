from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import __main__ as runner
from benchmarks import catalogue, report
from benchmarks.measure import Result


def _good() -> Iterator[Result]:
    yield Result("good", "ours", "theirs", 3.0, 2.0, 1, 1.6)


def _failing() -> Iterator[Result]:
    yield Result("failing", "a part", "theirs", 1.0, 2.0, 1)
    raise RuntimeError("no broker")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(catalogue.BENCHMARKS):
        monkeypatch.delitem(catalogue.BENCHMARKS, name)
    monkeypatch.setitem(catalogue.BENCHMARKS, "failing", _failing)
    monkeypatch.setitem(catalogue.BENCHMARKS, "good", _good)


@pytest.mark.usefixtures("names")
def test_results_are_kept_with_what_they_belong_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "results.json"
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--json", str(path)])
    assert runner.main() == 1, "one of them failed"
    document = json.loads(path.read_text())
    assert [entry["name"] for entry in document["results"]] == ["failing", "good"], "the others ran all the same"
    assert document["results"][1]["ratio"] == 1.5
    assert document["failed"] == {"failing": "RuntimeError: no broker"}
    assert document["machine"]["cores"] >= 1
    assert document["machine"]["memory_bytes"] > 0
    assert {"python", "grpcio", "protobuf", "librdkafka", "kafka", "clickhouse"} <= document["versions"].keys()
    assert set(document["commit"]) == {"id", "changed"}
    assert "1.50" in capsys.readouterr().out
    assert "| `good` | ours | theirs | 1.50 | ≤ 1.60 |" in report.markdown(document)


@pytest.mark.usefixtures("names")
def test_one_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.json"
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "good", "--json", str(path)])
    assert runner.main() == 0
    assert [entry["name"] for entry in json.loads(path.read_text())["results"]] == ["good"]


def test_a_wrong_name_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "gateway-bach"])
    with pytest.raises(SystemExit):
        runner.main()
    assert "gateway-batch" in capsys.readouterr().err
