"""What workers must survive, once and short; ``make chaos ONLY=processors`` runs the same trials longer.

kill -9, SIGTERM, a broker that dies, poison and replays are in ``test_processors.py``, with more to look at.
"""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import processors_trials as trials
from tests.support.broker import Broker
from tests.support.processors import Workers

WINDOW = 150


def run(trial: trials.Trial, kafka: Broker, directory: Path) -> str:
    directory.mkdir()
    settings = kafka.create_topics(f"trial-{uuid.uuid4().hex[:8]}.", partitions=3)
    with Workers(settings, directory, WINDOW) as workers:
        return trial(workers, kafka, 7, 1)


@pytest.mark.parametrize("trial", [trials.zombie, trials.joins_and_leaves, trials.static_restarts])
def test_nothing_is_lost(trial: trials.Trial, kafka: Broker, tmp_path: Path) -> None:
    print(run(trial, kafka, tmp_path / "workers"))


def test_misbehaving_agents(kafka: Broker, tmp_path: Path) -> None:
    """All at once, on topics of their own: they mostly wait."""
    faults = [trials.raises_once, trials.raises_always, trials.never_done, trials.burns]
    with ThreadPoolExecutor(len(faults)) as pool:
        running = [pool.submit(run, trial, kafka, tmp_path / trial.__name__) for trial in faults]
        for trial, future in zip(faults, running, strict=True):
            print(trial.__name__, future.result())
