"""``make bench``: run the benchmarks, print their ratios as a table, keep them as JSON with machine, versions and commit.

A benchmark that fails does not keep the others from running; the exit code is 1 then. A missed goal fails nothing.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from pathlib import Path

from rich.console import Console

from benchmarks import machine, report
from benchmarks.catalogue import BENCHMARKS
from benchmarks.measure import Result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=sorted(BENCHMARKS), help="these instead of all", default=list(BENCHMARKS)
    )
    parser.add_argument("--json", type=Path, help="default: below benchmarks/results/, with the time in its name")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    path = options.json or report.DIRECTORY / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    about = machine.describe()
    results: list[Result] = []
    failed: dict[str, str] = {}
    for name in options.only:
        print(f"{name} ...", file=sys.stderr)
        try:
            results.extend(BENCHMARKS[name]())
        except Exception as error:  # noqa: BLE001 - reported, and the exit code tells
            traceback.print_exc()
            failed[name] = f"{type(error).__name__}: {error}"
        report.write(path, about, results, failed)
    Console().print(report.table(results))
    for name, problem in failed.items():
        print(f"{name} failed: {problem}", file=sys.stderr)
    print(f"The same as JSON: {path}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
