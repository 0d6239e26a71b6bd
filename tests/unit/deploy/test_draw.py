"""A drawn dashboard writes values and legends as Grafana does."""

from __future__ import annotations

import json

import pytest

from deploy.grafana.answers import legend
from deploy.grafana.build import DIRECTORY
from deploy.grafana.units import written

PANELS = [
    panel
    for path in DIRECTORY.glob("*.json")
    for panel in json.loads(path.read_text())["panels"]
    if panel["type"] != "row"
]


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0, "short", "0"),
        (1234, "short", "1.23 K"),
        (950, "short", "950"),
        (0.02, "s", "20 ms"),
        (141, "s", "2.35 min"),
        (5400, "ms", "5.4 s"),
        (0.0279, "percentunit", "2.79%"),
        (3 << 20, "bytes", "3 MiB"),
        (12.5, "rowsps", "12.5 rows/s"),
        (0.00198, "currencyUSD", "$0.00198"),
    ],
)
def test_values_have_their_unit(value: float, unit: str, shown: str) -> None:
    assert written(value, unit) == shown


def test_numbers_of_things_have_no_decimals_where_the_panel_says_so() -> None:
    assert written(9.47, "short", 0) == "9"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_has_units_that_exist(panel: dict[str, object]) -> None:
    """Grafana shows a unit it does not know as a word behind the number."""
    config = panel["fieldConfig"]
    assert isinstance(config, dict)
    named = {config["defaults"]["unit"]} | {
        one["value"] for override in config["overrides"] for one in override["properties"] if one["id"] == "unit"
    }
    for unit in named:
        written(1.0, unit)


@pytest.mark.parametrize("panel", [one for one in PANELS if one["type"] == "stat"], ids=lambda panel: panel["title"])
def test_a_number_is_red_only_where_the_panel_says_so(panel: dict[str, dict[str, dict[str, object]]]) -> None:
    """Without thresholds Grafana paints everything from 80 on red."""
    assert panel["fieldConfig"]["defaults"]["thresholds"]


def test_a_legend_takes_the_labels_that_there_are() -> None:
    labels = {"job": "gateway", "instance": "a:1"}
    assert legend("{{job}} {{instance}} {{process}}", labels) == "gateway a:1"
    assert legend("", labels) == "value"
