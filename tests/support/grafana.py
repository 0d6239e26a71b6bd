"""What Grafana and its ClickHouse plugin (4.20.0) make of a query before they send it: macros and variables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Unix seconds, and the width of an interval in seconds."""

    start: int
    end: int
    interval: int = 60


def expand(sql: str, within: Range, variables: Mapping[str, Sequence[str] | None]) -> str:
    """`variables`: the chosen values; None: all are. Raises ValueError for a macro or variable that stays."""

    def conditional(match: re.Match[str]) -> str:
        inner, name = match[1].rsplit(",", 1)
        return "1 = 1" if variables[name.strip().removeprefix("$")] is None else inner.strip()

    for _ in range(sql.count("$__conditionalAll")):
        start = sql.index("$__conditionalAll(")
        end = _closing(sql, start + len("$__conditionalAll"))
        sql = (
            sql[:start]
            + re.sub(r"\$__conditionalAll\((.*)\)$", conditional, sql[start:end], flags=re.DOTALL)
            + sql[end:]
        )
    sql = sql.replace("$__fromTime", f"toDateTime({within.start})").replace("$__toTime", f"toDateTime({within.end})")
    for macro, template in (
        ("$__timeFilter", f"{{0}} >= toDateTime({within.start}) AND {{0}} <= toDateTime({within.end})"),
        ("$__timeInterval", f"toStartOfInterval(toDateTime({{0}}), INTERVAL {within.interval} second)"),
    ):
        while f"{macro}(" in sql:
            start = sql.index(f"{macro}(")
            end = _closing(sql, start + len(macro))
            sql = sql[:start] + template.format(sql[start + len(macro) + 1 : end - 1]) + sql[end:]
    sql = re.sub(r"\$\{(\w+):sqlstring\}", lambda match: ", ".join(_quoted(variables[match[1]] or ())), sql)
    if "$" in sql:
        raise ValueError(f"not expanded: {sql}")
    return sql


def _closing(sql: str, opening: int) -> int:
    depth = 0
    for position in range(opening, len(sql)):
        depth += {"(": 1, ")": -1}.get(sql[position], 0)
        if depth == 0:
            return position + 1
    raise ValueError(f"a parenthesis stays open: {sql}")


def _quoted(values: Sequence[str]) -> list[str]:
    return ["'{}'".format(value.replace("'", "''")) for value in values]
