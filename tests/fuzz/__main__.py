"""``python -m tests.fuzz [--requests N] [--seed N]``: hostile input to everything that reads; exit status 1 when anything gave way."""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

from tests.fuzz.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000, help="how many in all")
    parser.add_argument("--seed", type=int, default=1, help="the same seed sends the same")
    given = parser.parse_args()
    warnings.filterwarnings("ignore", module="joserfc")  # what it thinks of hostile keys
    with tempfile.TemporaryDirectory(prefix="chaukas-fuzz-") as directory:
        report = run(given.requests, given.seed, Path(directory))
    print(report.text())
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
