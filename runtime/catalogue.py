"""The metrics catalogue: each metric with kind, unit, labels and what it means when it moves, taken from the metrics themselves.

A process's metrics are made with a :class:`Help` as their documentation. So the page that Prometheus reads, ``docs/metrics.md``
(``make docs``) and what dashboards and alerts are tested against come from one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from prometheus_client import metrics as prometheus


class Help(str):
    """A metric's documentation: what it is, and what it means when it moves."""

    __slots__ = ("moves", "unit", "what")

    what: str
    unit: str
    moves: str

    def __new__(cls, what: str, unit: str, moves: str) -> Self:
        made = super().__new__(cls, f"{what} {moves}")
        made.what, made.unit, made.moves = what, unit, moves
        return made


@dataclass(frozen=True, slots=True)
class Entry:
    """A metric as it is scraped: a counter's name ends in ``_total``, a histogram has ``_bucket``, ``_sum`` and ``_count``."""

    name: str
    kind: str
    unit: str
    labels: tuple[str, ...]
    what: str
    moves: str

    @property
    def series(self) -> tuple[str, ...]:
        """The names a query may use."""
        if self.kind == "histogram":
            return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
        return (self.name,)


def entry(name: str, kind: str, help_: Help, labels: Sequence[str] = ()) -> Entry:
    """The entry of a metric that is made when it is scraped; `name` without ``_total``."""
    shown = f"{name}_total" if kind == "counter" else name
    return Entry(shown, kind, help_.unit, tuple(labels), help_.what, help_.moves)


def entries_of(holder: object) -> Iterator[Entry]:
    """Those of the metrics that are attributes of `holder`, in the order they were made. Raises TypeError for one without a Help."""
    for value in vars(holder).values():
        if isinstance(value, prometheus.MetricWrapperBase):
            metric: Any = value  # prometheus_client keeps what a metric was made of to itself
            if not isinstance(metric._documentation, Help):
                raise TypeError(f"{metric._name} has no unit and no meaning")
            yield entry(metric._name, metric._type, metric._documentation, metric._labelnames)


def table(title: str, entries: Iterable[Entry]) -> str:
    """A section of ``docs/metrics.md``."""
    lines = [f"## {title}", "", "| metric | kind, unit | what it is | when it moves |", "|---|---|---|---|"]
    for one in entries:
        labels = f"{{{','.join(one.labels)}}}" if one.labels else ""
        lines.append(f"| `{one.name}{labels}` | {one.kind}, {one.unit} | {one.what} | {one.moves} |")
    return "\n".join([*lines, ""])


#: Name and meaning; runtime/tracing.py has the metrics.
SPANS_EXPORTED = (
    "chaukas_tracing_spans_exported",
    Help("Spans the collector took, where TRACING_OTLP_ENDPOINT is set.", "spans", "With traced calls."),
)
SPANS_DROPPED = (
    "chaukas_tracing_spans_dropped",
    Help(
        "Spans that were not sent: `queue` full, `export` failed, or more calls in a `batch` than are traced.",
        "spans",
        "The collector is away or too slow, or too many calls are sampled; events are not concerned.",
    ),
)


def common() -> Iterator[Entry]:
    """What every process has besides its own."""
    gauge, counter = "gauge", "counter"
    for name, kind, help_ in (
        (
            "chaukas_process_starts_last_hour",
            gauge,
            Help(
                "Starts of this process in the last hour, where `…_STARTS_DIR` is set.", "starts", "Above 1: it dies."
            ),
        ),
        (
            "chaukas_process_last_exit_status",
            gauge,
            Help("How the run before ended.", "exit status", "0 in order, 75 the stall watchdog, -1 it left no word."),
        ),
        ("process_cpu_seconds", counter, Help("CPU used.", "seconds", "Near one per second: its core is full.")),
        (
            "process_resident_memory_bytes",
            gauge,
            Help("Memory in RAM.", "bytes", "Near the limit: the window or a batch is too large for it."),
        ),
        ("process_virtual_memory_bytes", gauge, Help("Address space.", "bytes", "Rarely tells anything.")),
        ("process_start_time_seconds", gauge, Help("When it started.", "Unix seconds", "Changes: it started again.")),
        ("process_open_fds", gauge, Help("Open files and sockets.", "files", "Near the limit: connections leak.")),
        ("process_max_fds", gauge, Help("Most files it may open.", "files", "With the limit of the platform.")),
        (
            "python_gc_objects_collected",
            counter,
            Help("Objects the garbage collector freed, by generation (sink).", "objects", "Rarely tells anything."),
        ),
        (
            "python_gc_objects_uncollectable",
            counter,
            Help("Objects it could not free (sink).", "objects", "Should not grow: a leak."),
        ),
        (
            "python_gc_collections",
            counter,
            Help("Its runs (sink).", "runs", "Many a second: it costs throughput."),
        ),
        ("python_info", gauge, Help("Version of Python, as labels.", "1", "With a new image.")),
    ):
        yield entry(name, kind, help_)
    yield entry(SPANS_EXPORTED[0], counter, SPANS_EXPORTED[1])
    yield entry(SPANS_DROPPED[0], counter, SPANS_DROPPED[1], ["reason"])


if __name__ == "__main__":
    print("# Metrics")
    print()
    print(
        "Generated by `make docs` from the code. Every process serves its own on `/metrics`: the gateway on port 8080, the sink"
    )
    print(
        "on 9101, processors on 9102 and up. No label holds what clients choose: no tenant, no session, no agent. Counters begin"
    )
    print(
        "anew with the process; a histogram has `_bucket`, `_sum` and `_count`. [runbooks.md](runbooks.md) says what to do."
    )
    print()
    print(table("Every process", common()))
