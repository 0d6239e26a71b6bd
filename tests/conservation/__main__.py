"""``make chaos``: trials of what must survive, in rounds with other seeds each; says the seed to repeat a failure with."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable

from tests.conservation import pipeline_chaos, processors_chaos, selftest

#: Each takes the trial's name (or None for all), a seed and the number of rounds; returns how many trials failed.
CHAOS: dict[str, Callable[[str | None, int, int], int]] = {
    "processors": processors_chaos.run,
    "pipeline": pipeline_chaos.run,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conservation", description=__doc__)
    parser.add_argument("--only", choices=sorted(CHAOS), help="one part of the system instead of all")
    parser.add_argument("--trial", help="one trial instead of all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--selftest", action="store_true", help="break the product on purpose; each must be noticed")
    options = parser.parse_args()
    if options.selftest:
        unnoticed = selftest.run(options.trial, options.seed)
        print(f"{unnoticed} breakages went unnoticed (seed {options.seed})", flush=True)
        return 1 if unnoticed else 0
    print(f"seed {options.seed}, {options.rounds} rounds", flush=True)
    failed = sum(
        run(options.trial, options.seed, options.rounds) for name, run in CHAOS.items() if options.only in (None, name)
    )
    print(f"{failed} trials failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
