"""A dashboard as one picture, drawn from its own queries where no Grafana is:

    python -m deploy.grafana.draw operations http://127.0.0.1:9090 PICTURE.png [MINUTES [UNTIL]]
    python -m deploy.grafana.draw agents chdb:////DIRECTORY PICTURE.png [MINUTES [UNTIL]]

The last 15 minutes, or those until UNTIL (Unix seconds). Places, kinds, units, legends and colours are those of the JSON; the marks are matplotlib's (``requirements/bench.txt``).
"""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.grafana.answers import Answer, from_prometheus, from_store
from deploy.grafana.build import DIRECTORY
from deploy.grafana.units import written
from tests.support.grafana import Range

Panel = dict[str, Any]

#: Of a unit of the grid, inches: a page of 1,900 pixels.
_WIDE, _HIGH = 0.79, 0.38
_DPI = 100
#: Of the picture's palette.
_COLOURS_KEPT = 128
#: Of Grafana's classic palette.
_PALETTE = [
    "#7EB26D",
    "#EAB839",
    "#6ED0E0",
    "#EF843C",
    "#E24D42",
    "#1F78C1",
    "#BA43A9",
    "#705DA0",
    "#508642",
    "#CCA300",
    "#447EBC",
    "#C15C17",
]
_INK, _PAGE, _FACE, _LINES = "#ccccdc", "#111217", "#181b1f", "#34383f"
#: Inches: a letter of a legend or cell, a line of a legend, what the marks of an axis take.
_LETTER, _LINE, _MARKS = 0.066, 0.16, 0.22


def draw(board: dict[str, Any], answers: dict[int, Answer], within: Range, picture: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from PIL import Image

    style = {"text.color": _INK, "axes.labelcolor": _INK, "xtick.color": _INK, "ytick.color": _INK, "font.size": 8}
    with mpl.rc_context(style):
        height = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in board["panels"])
        figure = plt.figure(figsize=(24 * _WIDE, height * _HIGH), facecolor=_PAGE)
        for panel in board["panels"]:
            at = panel["gridPos"]
            box = (at["x"] / 24, 1 - (at["y"] + at["h"]) / height, at["w"] / 24, at["h"] / height)
            _panel(figure, panel, answers[panel["id"]], within, box, (at["w"] * _WIDE, at["h"] * _HIGH))
        figure.savefig(picture, dpi=_DPI, facecolor=_PAGE)
        plt.close(figure)
    with Image.open(picture) as drawn:  # a few colours are enough: a third of the bytes
        drawn.convert("RGB").quantize(_COLOURS_KEPT, dither=Image.Dither.NONE).save(picture, optimize=True)


def _panel(
    figure: Any, panel: Panel, answer: Answer, within: Range, box: tuple[float, ...], inches: tuple[float, float]
) -> None:
    x, y, w, h = box
    if panel["type"] == "row":
        figure.text(x + 0.004, y + h / 2, f"⌄  {panel['title']}", va="center", size=10, weight="bold")
        return
    wide, high = inches
    frame = figure.add_axes((x + 0.002, y + 0.03 * h, w - 0.004, 0.94 * h), facecolor=_FACE)
    frame.set(xticks=[], yticks=[])
    frame.spines[:].set_color(_LINES)
    top = 0.3 / high
    frame.text(0.1 / wide, 1 - 0.06 / high, panel["title"], va="top", weight="bold", transform=frame.transAxes)
    if not answer.curves and not any(rows for _, rows in answer.tables.values()):
        frame.text(0.5, 0.5, "No data", ha="center", va="center", size=11, transform=frame.transAxes)
        return
    edge, foot = 0.65 / wide, (_MARKS + 0.1) / high
    inner = figure.add_axes(
        (x + edge * w, y + foot * h, (1 - edge - 0.2 / wide) * w, (1 - foot - top - 0.1 / high) * h)
    )
    inner.set_facecolor(_FACE)
    inner.spines[:].set_visible(False)
    inner.tick_params(length=0, labelsize=7)
    _KINDS[panel["type"]](inner, panel, answer, within, inches)


def _set_for(panel: Panel, name: str, key: str) -> Any:
    """What an override says of a column or series; None: nothing."""
    for override in panel["fieldConfig"]["overrides"]:
        matcher = override["matcher"]["options"]
        if matcher == name or (matcher.startswith("/") and re.search(matcher.strip("/"), name)):
            for one in override["properties"]:
                if one["id"] == key:
                    return one["value"]
    return None


def _shown(panel: Panel, name: str, value: float) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    return written(value, _set_for(panel, name, "unit") or defaults["unit"], defaults.get("decimals"))


def _colour(panel: Panel, name: str, number: int) -> str:
    fixed = _set_for(panel, name, "color")
    return f"tab:{fixed['fixedColor']}" if fixed else _PALETTE[number % len(_PALETTE)]


def _stat(axes: Any, panel: Panel, answer: Answer, within: Range, inches: tuple[float, float]) -> None:
    del within, inches
    axes.set_axis_off()
    (value,) = next(iter(answer.tables.values()))[1][0] if answer.tables else answer.curves[0][1][-1][1:]
    shown = "No data" if value is None else _shown(panel, "", float(value))
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    colour = [one["color"] for one in steps if one["value"] is None or (value is not None and value >= one["value"])][
        -1
    ]
    axes.text(0.5, 0.5, shown, ha="center", va="center", size=22, color=f"tab:{colour}", transform=axes.transAxes)


def _timeseries(axes: Any, panel: Panel, answer: Answer, within: Range, inches: tuple[float, float]) -> None:
    """Gaps stay gaps; what is stacked stands on those before it; a second unit has its axis on the right."""
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    times = sorted({at for _, points in answer.curves for at, _ in points})
    step = min((b - a for a, b in itertools.pairwise(times)), default=1)
    sides: dict[str | None, Any] = {}
    floor: dict[float, float] = {}
    for number, (name, points) in enumerate(answer.curves):
        unit = _set_for(panel, name, "unit")
        if unit not in sides:
            sides[unit] = axes.twinx() if sides else axes
        side = sides[unit]
        side.yaxis.set_major_formatter(lambda value, _, name=name: _shown(panel, name, value))
        drawn: list[tuple[float, float, float]] = []
        for at, value in points:
            if drawn and at - drawn[-1][0] > 1.5 * step:
                drawn.append((at - step / 2, math.nan, math.nan))
            base = floor.get(at, 0.0) if custom["stacking"]["mode"] == "normal" else 0.0
            drawn.append((at, base, value))
            floor[at] = base + value
        at_times, below, values = zip(*drawn, strict=True)
        colour, shade = _colour(panel, name, number), custom["fillOpacity"] / 100
        if custom["drawStyle"] == "bars":
            side.bar(at_times, values, within.interval, below, color=colour, alpha=shade, align="edge")
            continue
        above = [base + value for base, value in zip(below, values, strict=True)]
        side.plot(at_times, above, color=colour, linewidth=1.2, marker="o", markersize=2 if len(points) < 3 else 0)
        side.fill_between(at_times, below, above, color=colour, alpha=shade, linewidth=0)
    for side in sides.values():
        side.spines[:].set_visible(False)
        side.tick_params(length=0, labelsize=7)
        low, high = side.get_ylim()
        flat = -low == high  # matplotlib's room around zeros
        side.set_ylim(low if low < -0.1 * high and not flat else 0.0, 1.0 if flat else high)
        if defaults.get("decimals") == 0:
            side.yaxis.get_major_locator().set_params(integer=True)
    axes.set_xlim(within.start, within.end)
    axes.grid(color=_LINES, linewidth=0.5)
    ticks = [within.start + (within.end - within.start) * part / 6 for part in range(1, 6)]
    axes.set_xticks(ticks, [f"{datetime.fromtimestamp(at, UTC):%H:%M}" for at in ticks])
    lines = _legend(axes, panel, [name for name, _ in answer.curves], inches)
    for side in sides.values():
        _place(side, left=0.0, right=0.5 if len(sides) > 1 else 0.0, bottom=lines * _LINE)


def _place(axes: Any, *, left: float, right: float, bottom: float) -> None:
    """Takes inches away from the axes' sides."""
    wide, high = axes.figure.get_size_inches()
    x, y, w, h = axes.get_position().bounds
    axes.set_position((x + left / wide, y + bottom / high, w - (left + right) / wide, h - bottom / high))


def _legend(axes: Any, panel: Panel, names: list[str], inches: tuple[float, float]) -> int:
    """At the panel's foot. Returns how many lines it has, for which the caller makes room."""
    lines: list[list[tuple[int, str]]] = [[]]
    used = 0.0
    for number, name in enumerate(names):
        width = (len(name) + 5) * _LETTER
        if used + width > inches[0] - 0.4 and lines[-1]:
            lines.append([])
            used = 0.0
        lines[-1].append((number, name))
        used += width
    wide, high = axes.figure.get_size_inches()
    x, y, _, _ = axes.get_position().bounds
    for row, entries in enumerate(reversed(lines)):
        at, foot = x - 0.5 / wide, y + (row * _LINE - _MARKS) / high
        for number, name in entries:
            axes.figure.text(at, foot, "━", color=_colour(panel, name, number), size=7)
            axes.figure.text(at + 0.16 / wide, foot, name, size=7)
            at += (len(name) + 5) * _LETTER / wide
    return len(lines)


def _table(axes: Any, panel: Panel, answer: Answer, within: Range, inches: tuple[float, float]) -> None:
    """As many rows as there is room for; the columns are of the same width, as Grafana's are at first."""
    del within
    axes.set_axis_off()
    names, rows = next(iter(answer.tables.values()))
    room = int((inches[1] - 0.6) / 0.21)
    letters = max(int((inches[0] - 0.3) / len(names) / _LETTER) - 1, 3)
    numbers = [any(isinstance(row[column], int | float) for row in rows) for column in range(len(names))]
    _place(axes, left=-0.5, right=0.0, bottom=0.0)
    for line, row in enumerate([names, *rows[:room]]):
        for column, value in enumerate(row):
            text = str(value) if line == 0 else _cell(panel, names[column], value)
            text = text if len(text) <= letters else text[: letters - 1] + "…"
            axes.text(
                (column + (0.94 if numbers[column] else 0)) / len(names),
                1 - line * 0.21 / (inches[1] - 0.68),
                text,
                size=7,
                va="top",
                ha="right" if numbers[column] else "left",
                weight="bold" if line == 0 else "normal",
                transform=axes.transAxes,
            )


def _cell(panel: Panel, column: str, value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%m-%d %H:%M:%S}"
    if isinstance(value, int | float) and math.isfinite(value):
        return _shown(panel, column, float(value))
    return "" if value is None else str(value)


def _barchart(axes: Any, panel: Panel, answer: Answer, within: Range, inches: tuple[float, float]) -> None:
    del within
    names, rows = next(iter(answer.tables.values()))
    series = names[1:]
    thick = 0.8 / len(series)
    for number, name in enumerate(series):
        places = [line + (number - (len(series) - 1) / 2) * thick for line in range(len(rows))]
        values = [float(row[number + 1] or 0) for row in rows]
        axes.barh(places, values, thick * 0.9, color=_colour(panel, name, number))
        for place, value in zip(places, values, strict=True):
            axes.text(value, place, f" {_shown(panel, name, value)}", va="center", size=7)
    axes.set_yticks(range(len(rows)), [str(row[0]) for row in rows])
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(lambda value, _: _shown(panel, series[0], value))
    lines = _legend(axes, panel, list(series), inches)
    label = min(max(len(str(row[0])) for row in rows) * _LETTER, inches[0] / 2)
    _place(axes, left=label - 0.5, right=0.0, bottom=lines * _LINE)


def _node_graph(axes: Any, panel: Panel, answer: Answer, within: Range, inches: tuple[float, float]) -> None:
    """On a circle; of several edges between two nodes each has its own bow."""
    del panel, within
    axes.set_axis_off()
    axes.set(xlim=(-1.6, 1.6), ylim=(-1.35, 1.35))
    axes.set_aspect("equal", adjustable="datalim")
    node_names, nodes = answer.tables["nodes"]
    edge_names, edges = answer.tables["edges"]
    where = {
        row[node_names.index("id")]: (
            math.cos(math.tau * number / len(nodes)),
            math.sin(math.tau * number / len(nodes)),
        )
        for number, row in enumerate(nodes)
    }
    for row in edges:
        edge = dict(zip(edge_names, row, strict=True))
        source, target = where[edge["source"]], where[edge["target"]]
        arrow = {"arrowstyle": "-|>", "color": _INK, "connectionstyle": "arc3,rad=0.18", "shrinkA": 24, "shrinkB": 24}
        axes.annotate("", target, source, arrowprops=arrow)
        dx, dy = target[0] - source[0], target[1] - source[1]
        middle = ((source[0] + target[0]) / 2 + 0.16 * dy, (source[1] + target[1]) / 2 - 0.16 * dx)
        axes.text(*middle, f"{edge['mainstat']}\n{edge['secondarystat']}", ha="center", va="center", size=7)
    for row in nodes:
        node = dict(zip(node_names, row, strict=True))
        place, errors = where[node["id"]], float(node["arc__errors"])
        ring = 0.02 * inches[1] * 2.2
        axes.pie(
            [errors, 1 - errors],
            colors=["tab:red", "tab:green"],
            center=place,
            radius=ring,
            startangle=90,
            wedgeprops={"width": 0.03},
        )
        axes.text(*place, f"{node['mainstat']}\n{node['secondarystat']}", ha="center", va="center", size=7)
        axes.text(place[0], place[1] - ring - 0.02, node["title"], ha="center", va="top", size=8, weight="bold")
    axes.set(xlim=(-1.9, 1.9), ylim=(-1.4, 1.35))


_KINDS: dict[str, Callable[[Any, Panel, Answer, Range, tuple[float, float]], None]] = {
    "stat": _stat,
    "timeseries": _timeseries,
    "table": _table,
    "barchart": _barchart,
    "nodeGraph": _node_graph,
}


def main(name: str, source: str, picture: str, minutes: str = "15", until: str = "") -> None:
    """`source`: the address of a Prometheus, or a store's DSN."""
    board = json.loads((DIRECTORY / f"{name}.json").read_text())
    end = int(until or time.time())
    within = Range(end - int(minutes) * 60, end, max(int(minutes) * 60 // 240, 1))
    ask = from_prometheus if source.startswith("http") else from_store
    draw(board, ask(source, board, within), within, Path(picture))


if __name__ == "__main__":
    main(*sys.argv[1:])
