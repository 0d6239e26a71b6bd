"""``make bench``: run the benchmarks and print their ratios as a table (``--json FILE`` beside it)."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import (
    gateway_doors,
    gateway_latency,
    gateway_overload,
    ingest_steps,
    processors_latency,
    processors_rebalance,
    processors_steps,
    processors_worker,
    sink_memory,
    sink_merges,
    sink_queries,
    sink_rows,
    sink_settle,
    sink_stats,
    sink_visible,
    sink_writer,
)
from benchmarks.measure import Result

BENCHMARKS: dict[str, Callable[[], Iterator[Result]]] = {
    "gateway-batch": gateway_doors.run_batch,
    "gateway-http": gateway_doors.run_http,
    "gateway-latency": gateway_latency.run,
    "gateway-overload": gateway_overload.run,
    "gateway-steps": ingest_steps.run,
    "gateway-unary": gateway_doors.run_unary,
    "processors-latency": processors_latency.run,
    "processors-rebalance": processors_rebalance.run,
    "processors-steps": processors_steps.run,
    "processors-worker": processors_worker.run,
    "sink-memory": sink_memory.run,
    "sink-merges": sink_merges.run,
    "sink-queries": sink_queries.run,
    "sink-rows": sink_rows.run,
    "sink-settle": sink_settle.run,
    "sink-stats": sink_stats.run,
    "sink-visible": sink_visible.run,
    "sink-writer": sink_writer.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=sorted(BENCHMARKS), help="one benchmark instead of all")
    parser.add_argument("--json", type=Path, help="write the results with machine and versions to this file")
    options = parser.parse_args()
    results = [result for name, run in BENCHMARKS.items() if options.only in (None, name) for result in run()]
    table = Table(title="CPU per event unless it says otherwise, as a ratio to a baseline of the same run")
    for column in ("benchmark", "measured", "baseline", "ratio", "goal", "µs an event"):
        table.add_column(column, justify="right" if column in ("ratio", "goal", "µs an event") else "left")
    for result in results:
        goal = "" if result.goal is None else f"≤ {result.goal:.1f}"
        per_event = f"{result.seconds / result.events * 1e6:.2f}" if result.events else ""
        table.add_row(result.name, result.what, result.baseline, f"{result.ratio:.2f}", goal, per_event)
    Console().print(table)
    if options.json:
        machine = {"python": sys.version, "machine": platform.platform(), "processor": platform.processor()}
        entries = [{**asdict(result), "ratio": result.ratio} for result in results]
        options.json.write_text(json.dumps({"machine": machine, "results": entries}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
