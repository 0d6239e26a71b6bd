"""The dashboards are those of the code, ask for metrics that exist, and fit the grid."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import pytest

from deploy.grafana.build import DIRECTORY, render
from tests.support.grafana import Range, expand
from tests.unit.deploy.promql import problems, selectors
from tests.unit.deploy.test_alerts import RECORDED

BOARDS: dict[str, dict[str, Any]] = {path.name: json.loads(path.read_text()) for path in DIRECTORY.glob("*.json")}


def test_the_files_are_current() -> None:
    assert {path.name: path.read_text() for path in DIRECTORY.glob("*.json")} == render(), "run `make docs`"


def test_every_query_of_operations_asks_for_what_exists() -> None:
    expressions = [
        target["expr"] for panel in BOARDS["operations.json"]["panels"] for target in panel.get("targets", ())
    ]
    assert expressions
    for expression in expressions:
        assert list(selectors(expression))
        assert problems(expression, RECORDED) == [], expression


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_names_of_their_own_and_do_not_overlap(name: str) -> None:
    panels = BOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        assert panel["type"] == "row" or panel["description"]
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)


def test_macros_are_expanded_as_the_plugin_does() -> None:
    within = Range(10, 20, 5)
    assert expand("$__timeFilter(a)", within, {}) == "a >= toDateTime(10) AND a <= toDateTime(20)"
    assert expand("$__timeInterval(a)", within, {}) == "toStartOfInterval(toDateTime(a), INTERVAL 5 second)"
    some = "$__conditionalAll(a IN (${v:sqlstring}), $v)"
    assert expand(some, within, {"v": None}) == "1 = 1"
    assert expand(some, within, {"v": ["x", "it's"]}) == "a IN ('x', 'it''s')"
    with pytest.raises(ValueError, match="not expanded"):
        expand("$__unknown(a)", within, {})
