"""The whole system's trials in their long form: each scenario on a system of its own, each round with another seed."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
import traceback
from pathlib import Path

from tests.conservation import trial
from tests.conservation.scenarios import SCENARIOS
from tests.conservation.system import running


def run(only: str | None, seed: int, rounds: int) -> int:
    """The number of failed trials; each is reported with the seed that repeats it, and its logs are kept."""
    names = [name for name in SCENARIOS if name == only or (only is None and not name.startswith("short"))]
    if not names:
        raise SystemExit(f"no trial {only!r}; there are {', '.join(SCENARIOS)}")
    return sum(_one(name, seed + number, number) for number in range(rounds) for name in names)


def _one(name: str, seed: int, number: int) -> bool:
    """Whether it failed."""
    directory = Path(tempfile.mkdtemp(prefix=f"chaukas-{name}-"))
    started = time.monotonic()
    print(f"round {number + 1} {name}, seed {seed}", flush=True)
    failed = True
    try:
        outcome = perform(name, seed, directory, verbose=True)
        failed = bool(outcome.problems)
        print(outcome.report if failed else f"{outcome.summary}\n{outcome.table}", flush=True)
    except Exception:  # the next trial goes on; this one is counted and shown
        print(traceback.format_exc(), flush=True)
    seconds = time.monotonic() - started
    verdict = f"FAILED; repeat it with SEED={seed} TRIAL={name} ROUNDS=1, logs in {directory}" if failed else "ok"
    print(f"round {number + 1} {name}: {verdict} ({seconds:.0f} s)", flush=True)
    if not failed:
        shutil.rmtree(directory, ignore_errors=True)
    return failed


def perform(name: str, seed: int, directory: Path, *, verbose: bool = False) -> trial.Outcome:
    """One scenario on a system of its own in `directory`. Blocks for minutes."""
    scenario = SCENARIOS[name]
    steps = scenario.steps(random.Random(seed))
    with running(directory, server_store=scenario.server_store) as system:
        return trial.run(
            system,
            f"{name}-{seed}",
            seed,
            steps,
            log=(lambda line: print(f"  {line}", flush=True)) if verbose else (lambda line: None),
            ready_between=scenario.ready_between,
        )
