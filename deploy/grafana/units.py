"""Values as Grafana writes them, for the units that our panels use."""

from __future__ import annotations

from collections.abc import Callable

_SHORT = ((1e9, " B"), (1e6, " M"), (1e3, " K"))
_BINARY = ((1 << 30, " GiB"), (1 << 20, " MiB"), (1 << 10, " KiB"))
_RATES = {
    "cps": " c/s",
    "eps": " evt/s",
    "ops": " ops/s",
    "recps": " rec/s",
    "reqps": " req/s",
    "rowsps": " rows/s",
}


def short(value: float) -> str:
    """At most three significant digits beside the thousands' sign."""
    for size, sign in _SHORT:
        if abs(value) >= size:
            return f"{value / size:.3g}{sign}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _seconds(value: float) -> str:
    for limit, size, sign in ((1e-3, 1e-6, " µs"), (1, 1e-3, " ms"), (60, 1, " s"), (3600, 60, " min")):
        if abs(value) < limit:
            return f"{value / size:.3g}{sign}" if value else "0 s"
    return f"{value / 3600:.3g} hour"


def _bytes(value: float) -> str:
    for size, sign in _BINARY:
        if abs(value) >= size:
            return f"{value / size:.3g}{sign}"
    return f"{value:.3g} B"


_FORMATS: dict[str, Callable[[float], str]] = {
    "short": short,
    "none": lambda value: f"{value:g}",
    "s": _seconds,
    "ms": lambda value: _seconds(value / 1000),
    "bytes": _bytes,
    "percentunit": lambda value: f"{value * 100:.3g}%",
    "currencyUSD": lambda value: f"${value:.2f}" if abs(value) >= 0.1 or not value else f"${value:.3g}",
}


def written(value: float, unit: str, decimals: int | None = None) -> str:
    """`value` in `unit`; `decimals` are obeyed where the unit is a plain number. Raises KeyError for a unit that is not among these."""
    if decimals is not None:
        value = round(value, decimals)
    return short(value) + _RATES[unit] if unit in _RATES else _FORMATS[unit](value)
