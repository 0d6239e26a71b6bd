"""Parts of a Grafana dashboard, as its JSON model has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Panel = dict[str, Any]
#: Colours, each from a value on; the first one from anywhere.
Steps = Sequence[tuple[str, float | None]]

PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
CLICKHOUSE = {"type": "grafana-clickhouse-datasource", "uid": "clickhouse"}
#: Every option that Grafana's own types require, here and below: what is left out has another default in each version.
_LEGEND = {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True}
_TOOLTIP = {"mode": "multi", "sort": "desc"}
#: The plugin's numbers of formats.
_TIMESERIES, _TABLE = 0, 1


def promql(*queries: tuple[str, str]) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Targets from (expression, legend)."""
    return PROMETHEUS, [
        {"refId": chr(65 + number), "datasource": PROMETHEUS, "expr": expression, "legendFormat": legend}
        for number, (expression, legend) in enumerate(queries)
    ]


def sql(over_time: bool = False, /, **queries: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Targets from SQL by their refId; the node graph wants them named `nodes` and `edges`."""
    return CLICKHOUSE, [
        {
            "refId": name,
            "datasource": CLICKHOUSE,
            "editorType": "sql",
            "queryType": "timeseries" if over_time else "table",
            "format": _TIMESERIES if over_time else _TABLE,
            "rawSql": " ".join(query.split()),
        }
        for name, query in queries.items()
    ]


def panel(
    kind: str,
    title: str,
    about: str,
    source: tuple[dict[str, str], list[dict[str, Any]]],
    *,
    width: int = 12,
    height: int = 8,
    unit: str = "short",
    units: dict[str, str] | None = None,
    decimals: int | None = None,
    steps: Steps = (("green", None),),
    options: dict[str, Any] | None = None,
    custom: dict[str, Any] | None = None,
    colours: dict[str, str] | None = None,
) -> Panel:
    """`unit` of all values, `units` by the name of the column or series (`/…/`: a pattern of names); curves of another unit have an axis
    of their own. `steps`: colours from a value on; Grafana's own default is red from 80 on. `colours` by the name."""
    datasource, targets = source
    overrides = [_override(name, "unit", value) for name, value in (units or {}).items()]
    overrides += [
        _override(name, "color", {"mode": "fixed", "fixedColor": value}) for name, value in (colours or {}).items()
    ]
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": datasource,
        "targets": targets,
        "gridPos": {"w": width, "h": height, "x": 0, "y": 0},
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                **({} if decimals is None else {"decimals": decimals}),
                "thresholds": {
                    "mode": "absolute",
                    "steps": [{"color": colour, "value": value} for colour, value in steps],
                },
                "custom": custom or {},
            },
            "overrides": overrides,
        },
        "options": options or {},
    }


def curves(title: str, about: str, source: Any, *, stacked: bool = False, drawn: str = "line", **rest: Any) -> Panel:
    """`drawn` as `bars`: counts of intervals, of which those without any have no row that a line could go down to."""
    custom = {
        "drawStyle": drawn,
        "fillOpacity": 15 if drawn == "line" else 80,
        "stacking": {"mode": "normal" if stacked else "none"},
    }
    options = {"legend": _LEGEND, "tooltip": _TOOLTIP}
    return panel("timeseries", title, about, source, custom=custom, options=options, **rest)


def number(title: str, about: str, source: Any, *, width: int = 4, **rest: Any) -> Panel:
    """The value of this moment: what is gone shows no data, not what was there last."""
    datasource, targets = source
    if datasource is PROMETHEUS:
        source = datasource, [{**target, "instant": True, "range": False} for target in targets]
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "showPercentChange": False,
        "textMode": "auto",
        "wideLayout": True,
    }
    return panel("stat", title, about, source, width=width, height=4, options=options, **rest)


def rows(title: str, about: str, source: Any, **rest: Any) -> Panel:
    options = {"cellHeight": "sm", "frameIndex": 0, "showHeader": True}
    return panel("table", title, about, source, options=options, custom={"align": "auto", "inspect": False}, **rest)


def bars(title: str, about: str, source: Any, **rest: Any) -> Panel:
    options = {
        "orientation": "horizontal",
        "barWidth": 0.97,
        "fullHighlight": False,
        "groupWidth": 0.7,
        "legend": _LEGEND,
        "showValue": "auto",
        "stacking": "none",
        "tooltip": _TOOLTIP,
        "xTickLabelMaxLength": 0,
        "xTickLabelRotation": 0,
    }
    return panel("barchart", title, about, source, options=options, **rest)


def graph(title: str, about: str, source: Any, **rest: Any) -> Panel:
    return panel("nodeGraph", title, about, source, **rest)


def variable(name: str, query: str, *, several: bool = True) -> dict[str, Any]:
    """A list of values from ClickHouse; `several`: more than one may be chosen, or all."""
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": CLICKHOUSE,
        "query": {"rawSql": " ".join(query.split()), "refId": name},
        "definition": " ".join(query.split()),
        "refresh": 2,
        "sort": 1,
        "multi": several,
        "includeAll": several,
        **({"current": {"text": "All", "value": "$__all"}} if several else {}),
    }


def dashboard(
    uid: str, title: str, sections: dict[str, list[Panel]], variables: list[dict[str, Any]], since: str
) -> dict[str, Any]:
    """Panels in the order given, each row of the grid filled from the left (24 units wide)."""
    placed: list[Panel] = []
    x = y = height = 0
    for name, panels in sections.items():
        y, x, height = y + height, 0, 0
        placed.append({"type": "row", "title": name, "collapsed": False, "gridPos": _at(0, y, 24, 1), "panels": []})
        y += 1
        for one in panels:
            w, h = one["gridPos"]["w"], one["gridPos"]["h"]
            if x + w > 24:
                y, x, height = y + height, 0, 0
            placed.append({**one, "gridPos": _at(x, y, w, h)})
            x, height = x + w, max(height, h)
    for number_, one in enumerate(placed, 1):
        one["id"] = number_
    return {
        "uid": uid,
        "title": title,
        "tags": ["chaukas"],
        "schemaVersion": 41,
        "version": 1,
        "editable": False,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": since, "to": "now"},
        "templating": {"list": variables},
        "annotations": {"list": []},
        "panels": placed,
    }


def _at(x: int, y: int, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def _override(name: str, property_: str, value: Any) -> dict[str, Any]:
    matcher = "byRegexp" if name.startswith("/") else "byName"
    return {"matcher": {"id": matcher, "options": name}, "properties": [{"id": property_, "value": value}]}
