"""What a PromQL expression asks for, by a parser of PromQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import promql_parser

import gateway.metrics
import processors.metrics
import sink.metrics
from runtime.catalogue import Entry, common

#: Made by Prometheus itself: for every scrape, for every alert.
_SCRAPE = Entry("up", "gauge", "0 or 1", (), "", "")
_ALERTS = Entry("ALERTS", "gauge", "1", ("alertname", "alertstate", "severity"), "", "")
#: Given by Prometheus, or by the page of several gateways.
_TARGET_LABELS = {"job", "instance", "process", "le", "__name__"}

CATALOGUE: dict[str, Entry] = {
    series: entry
    for entry in (
        _SCRAPE,
        _ALERTS,
        *common(),
        *gateway.metrics.catalogue(),
        *processors.metrics.catalogue(),
        *sink.metrics.catalogue(),
    )
    for series in entry.series
}


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """(name of the series, labels it is filtered by) for each selector. Raises ValueError when it is no PromQL."""
    yield from _walk(promql_parser.parse(expression))


def _walk(node: Any) -> Iterator[tuple[str, set[str]]]:
    if isinstance(node, promql_parser.VectorSelector):
        matchers = list(node.matchers.matchers)
        labels = {matcher.name for matcher in matchers} - {"__name__"}
        names = [node.name] if node.name else [m.value for m in matchers if m.name == "__name__"]
        for name in names:
            for one in re.split(r"\|", name):
                yield one, labels
        return
    for attribute in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner = getattr(node, attribute, None)
        if inner is not None:
            yield from _walk(inner)
    for inner in getattr(node, "args", None) or ():
        yield from _walk(inner)


def problems(expression: str, recorded: set[str]) -> list[str]:
    """What of an expression is neither in the catalogue nor recorded by a rule."""
    found = []
    for name, labels in selectors(expression):
        if name in recorded:
            continue
        if name not in CATALOGUE:
            found.append(f"no metric is named {name}")
        elif unknown := labels - set(CATALOGUE[name].labels) - _TARGET_LABELS:
            found.append(f"{name} has no label {', '.join(sorted(unknown))}")
    return found
