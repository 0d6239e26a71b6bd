"""Named trials of the whole system. The long ones are for `make chaos`, the two short ones also run in `make test`."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.conservation import faults as f
from tests.conservation import schedule
from tests.conservation.schedule import Step


@dataclass(frozen=True)
class Scenario:
    """What is broken, from a seeded generator, and on which store."""

    steps: Callable[[random.Random], Sequence[Step]]
    server_store: bool = False
    #: Everything must be ready again before the next step.
    ready_between: bool = False


#: Three rounds of it are 201 kills.
KILLS = 67

_PROCESSES = [(f.kill, 0), (f.terminate, 0), (f.freeze, 5), (f.scale, 5), (f.kill_kafka, 0)]
_NETWORK = [(f.blackhole, 6), (f.slow_network, 6), (f.cut_network, 4), (f.refuse_network, 3), (f.stop_kafka, 5)]
_TOPICS = [(f.foreign_records, 0), (f.replay, 0)]
_STORE = [(f.store_refuses, 4), (f.store_hangs, 12), (f.disk_full, 4), (f.kill_store, 3), (f.store_refuses_rows, 2)]

SCENARIOS: dict[str, Scenario] = {
    # Short, and of everything something.
    "short": Scenario(lambda rng: schedule.of(rng, [*_PROCESSES, *_NETWORK, *_TOPICS])),
    "short_store": Scenario(lambda rng: schedule.of(rng, [*_STORE, (f.kill, 0), (f.more_partitions, 0)]), True),
    # Long.
    "kills": Scenario(lambda rng: schedule.kills(rng, KILLS)),
    "frozen": Scenario(lambda rng: schedule.of(rng, [(f.freeze, 5), (f.freeze, 40), (f.freeze, 5), (f.freeze, 40)])),
    "network": Scenario(
        lambda rng: schedule.of(
            rng, [*_NETWORK, *_NETWORK, (f.blackhole, 30), (f.slow_network, 30), (f.stop_kafka, 60)]
        )
    ),
    "scaling": Scenario(lambda rng: schedule.of(rng, [(f.scale, rng.uniform(2, 15)) for _ in range(6)])),
    "replays": Scenario(lambda rng: schedule.of(rng, [(f.replay, 0)] * 3 + _PROCESSES)),
    "topics": Scenario(lambda rng: schedule.of(rng, [(f.foreign_records, 0)] * 2 + [(f.more_partitions, 0)] * 2)),
    "store": Scenario(lambda rng: schedule.of(rng, [*_STORE, *_STORE, (f.kill_store, 60), (f.store_hangs, 45)]), True),
    "store_away": Scenario(lambda rng: [Step(2, f.kill_store, 600)], True),
}
