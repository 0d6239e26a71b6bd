"""Results as a table and as JSON; ``python -m benchmarks.report FILE …`` prints kept ones for ``docs/performance.md``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.measure import Result

#: Where everything that a run leaves goes; not committed.
DIRECTORY = Path(__file__).parent / "results"


def table(results: Sequence[Result]) -> Table:
    made = Table(title="CPU per event unless it says otherwise, as a ratio to a baseline of the same run")
    for column in ("benchmark", "measured", "baseline", "ratio", "goal", "µs an event"):
        made.add_column(column, justify="right" if column in ("ratio", "goal", "µs an event") else "left")
    for result in results:
        per_event = f"{result.seconds / result.events * 1e6:.2f}" if result.events else ""
        made.add_row(result.name, result.what, result.baseline, f"{result.ratio:.2f}", goal(result), per_event)
    return made


def goal(result: Result) -> str:
    return "" if result.goal is None else f"≤ {result.goal:.2f}"


def write(path: Path, about: dict[str, Any], results: Sequence[Result], failed: dict[str, str]) -> None:
    """`about`: machine, versions and commit (see :mod:`benchmarks.machine`); `failed`: the error by benchmark."""
    entries = [{**asdict(result), "ratio": result.ratio} for result in results]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "results": entries, "failed": failed}, indent=2) + "\n")


def markdown(document: dict[str, Any]) -> str:
    """The table of a kept run, with what it belongs to."""
    about, versions, commit = document["machine"], document["versions"], document["commit"]
    changed = " with changes" if commit["changed"] else ""
    lines = [
        f"{about['cores']} cores ({about['cpu']}), {about['memory_bytes'] / 2**30:.0f} GiB, load average before "
        f"{about['load_average']:.1f}; Python {versions['python']}, grpcio {versions['grpcio']}, protobuf "
        f"{versions['protobuf']}, confluent-kafka {versions['confluent-kafka']}, ClickHouse {versions['clickhouse']}, Kafka "
        f"{versions['kafka']}; commit {commit['id'][:10]}{changed}",
        "",
        "| benchmark | measured | baseline | ratio | goal |",
        "|---|---|---|---|---|",
    ]
    for entry in document["results"]:
        result = Result(**{name: value for name, value in entry.items() if name != "ratio"})
        lines.append(f"| `{result.name}` | {result.what} | {result.baseline} | {result.ratio:.2f} | {goal(result)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    for file in sys.argv[1:]:
        print(markdown(json.loads(Path(file).read_text())), end="\n\n")
