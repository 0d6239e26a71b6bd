"""The processors' trials in their long form, each round with another seed, on one broker."""

from __future__ import annotations

import shutil
import tempfile
import time
import traceback
import uuid
from pathlib import Path

from tests.support.broker import Broker
from tests.support.processors import Workers
from tests.support.processors_trials import TRIALS

WINDOW = 150
#: How much longer than in `make test`.
SCALE = 3


def run(only: str | None, seed: int, rounds: int) -> int:
    """The number of failed trials; each is reported with the seed that repeats it, and its workers' logs are kept."""
    trials = {name: trial for name, trial in TRIALS.items() if only in (None, name)}
    if not trials:
        raise SystemExit(f"no trial {only!r}; there are {', '.join(TRIALS)}")
    directory = Path(tempfile.mkdtemp(prefix="chaukas-chaos-"))
    failed = 0
    broker = Broker.prepare(directory / "kafka")
    broker.start()
    try:
        for number in range(rounds):
            for name, trial in trials.items():
                started = time.monotonic()
                place = directory / f"{name}-{number}"
                place.mkdir()
                kafka = broker.create_topics(f"chaos-{uuid.uuid4().hex[:8]}.", partitions=4)
                try:
                    with Workers(kafka, place, WINDOW) as workers:
                        outcome = trial(workers, broker, seed + number, SCALE)
                except Exception:  # the next trial goes on; this one is counted and shown
                    failed += 1
                    outcome = f"FAILED with SEED={seed + number}, logs in {place}\n{traceback.format_exc()}"
                print(f"round {number + 1} {name}: {outcome} ({time.monotonic() - started:.0f} s)", flush=True)
    finally:
        broker.stop()
        if not failed:
            shutil.rmtree(directory)
    return failed
