"""What a dashboard's own queries answer: from a Prometheus, or from a store."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from sink.store import Store
from tests.support.grafana import Range, expand

#: As many points as a panel has pixels, about.
_POINTS = 240


@dataclass
class Answer:
    """Of one panel: curves with their legend, or tables by their refId."""

    curves: list[tuple[str, list[tuple[float, float]]]] = field(default_factory=list)
    tables: dict[str, tuple[Sequence[str], Sequence[Sequence[Any]]]] = field(default_factory=dict)


def from_prometheus(url: str, board: dict[str, Any], within: Range) -> dict[int, Answer]:
    """Answers by the panel's id."""
    answers: dict[int, Answer] = {}
    for panel in board["panels"]:
        answer = answers[panel["id"]] = Answer()
        for target in panel.get("targets", ()):
            for series in _query(url, target, within):
                points = [(float(at), float(value)) for at, value in series["values"]]
                answer.curves.append((legend(target["legendFormat"], series["metric"]), points))
    return answers


def from_store(dsn: str, board: dict[str, Any], within: Range) -> dict[int, Answer]:
    """With the first tenant, and all of every other variable. The embedded engine's directory must be nobody's at this moment."""
    with closing(Store.open(dsn, readers=1)) as store:
        (tenant, *_) = store.writer.query(board["templating"]["list"][0]["query"]["rawSql"]).result_columns[0]
        variables: Mapping[str, Sequence[str] | None] = {
            one["name"]: None if one["multi"] else [tenant] for one in board["templating"]["list"]
        }
        answers: dict[int, Answer] = {}
        for panel in board["panels"]:
            answer = answers[panel["id"]] = Answer()
            for target in panel.get("targets", ()):
                found = store.writer.query(expand(target["rawSql"], within, variables))
                if target["queryType"] == "timeseries":
                    series: dict[str, list[tuple[float, float]]] = {}
                    for at, name, value in found.result_rows:
                        series.setdefault(name, []).append((at.timestamp(), float(value)))
                    answer.curves = list(series.items())
                else:
                    answer.tables[target["refId"]] = (found.column_names, found.result_rows)
        return answers


def _query(url: str, target: dict[str, Any], within: Range) -> list[dict[str, Any]]:
    asked = {"query": target["expr"]}
    if target.get("instant"):
        path = "query"
        asked["time"] = str(within.end)
    else:
        path = "query_range"
        step = max((within.end - within.start) // _POINTS, 5)
        asked |= {"start": str(within.start), "end": str(within.end), "step": str(step)}
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(asked)}", timeout=30) as response:  # noqa: S310 - the developer's own
        result: list[dict[str, Any]] = json.load(response)["data"]["result"]
    for series in result:
        series.setdefault("values", [series.get("value")])
    return result


def legend(template: str, labels: Mapping[str, str]) -> str:
    for name, value in labels.items():
        template = template.replace("{{" + name + "}}", value)
    return re.sub(r"\{\{\w+\}\}", "", template).strip() or "value"
