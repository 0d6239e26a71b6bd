"""``make chaos-selftest``: the product is broken on purpose, and each time the account must notice.

Each breakage meets the harm that brings it out (breakages/sitecustomize.py has what is broken).
"""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conservation import faults as f
from tests.conservation import trial
from tests.conservation.schedule import Step
from tests.conservation.system import System, running
from tests.support.fault_proxy import BLACKHOLE, PASS, slow
from tests.support.waiting import wait_for

BREAKAGES = Path(__file__).parent / "breakages"


@dataclass(frozen=True)
class Proof:
    """The harm under which a breakage shows."""

    steps: Sequence[Step] = ()
    server_store: bool = False


def kill_gateways_in_the_dark(system: System, rng: random.Random, seconds: float) -> str:
    """Kafka answers nothing, and the gateways are killed before it does."""
    assert system.proxy is not None
    with system.network_lock:
        system.proxy.set(BLACKHOLE)
        time.sleep(seconds)
        system.signal("gateway", signal.SIGKILL)
        system.proxy.set(PASS)
    return ""


def kill_processors_on_a_slow_line(system: System, rng: random.Random, seconds: float) -> str:
    """Processors with a backlog read it at once, send slowly what follows from it, and are killed meanwhile."""
    assert system.proxy is not None
    system.stop_program("processors")
    before = sum(system.ends(system.kafka.topics.enriched).values())
    time.sleep(seconds)
    with system.network_lock:
        system.proxy.set(up=slow(bytes_per_second=20_000))
        system.start_program("processors")
        wait_for("a worker to read", lambda: sum(system.ends(system.kafka.topics.enriched).values()) > before)
        time.sleep(3)
        system.signal("processors", signal.SIGKILL)
        system.proxy.sever()  # what was on the line is gone as well
        system.proxy.set(PASS)
    return ""


def kill_the_sink_while_the_store_hangs(system: System, rng: random.Random, seconds: float) -> str:
    """An insert is under way and never answered when the sink is killed."""
    assert system.store is not None
    with system.store_lock:
        system.store.fault("hang")
        time.sleep(seconds)
        system.signal("sink", signal.SIGKILL)
        system.store.fault("none")
    return ""


def refuse_inserts(system: System, rng: random.Random, seconds: float) -> str:
    """Inserts fail for a while, and nothing of them is stored."""
    assert system.store is not None
    with system.store_lock:
        system.store.fault("refuse", code=252)
        time.sleep(seconds)
        system.store.fault("none")
    return ""


PROOFS: dict[str, Proof] = {
    "acknowledge_before_delivery": Proof([Step(1, kill_gateways_in_the_dark, 3)]),
    "change_the_clients_bytes": Proof(),
    "finish_before_delivery": Proof([Step(1, kill_processors_on_a_slow_line, 6)]),
    "skip_a_revoke": Proof([Step(4, f.scale, 4)] * 4),
    "drop_a_dead_letter": Proof([Step(1, f.foreign_records)]),
    "count_instead_of_facts": Proof([Step(1, f.kill)]),
    "commit_before_insert": Proof([Step(1, kill_the_sink_while_the_store_hangs, 3)], server_store=True),
    "swallow_a_failed_insert": Proof([Step(1, refuse_inserts, 3)], server_store=True),
}


def run(only: str | None, seed: int) -> int:
    """How many breakages went unnoticed; blocks for about a minute for each."""
    names = [name for name in PROOFS if only in (None, name)]
    if not names:
        raise SystemExit(f"no breakage {only!r}; there are {', '.join(PROOFS)}")
    return sum(not _noticed(name, seed) for name in names)


def _noticed(name: str, seed: int) -> bool:
    proof = PROOFS[name]
    directory = Path(tempfile.mkdtemp(prefix=f"chaukas-{name}-"))
    environment = {"PYTHONPATH": str(BREAKAGES), "CONSERVATION_BREAKAGE": name}
    try:
        with running(directory, server_store=proof.server_store, **environment) as system:
            outcome = trial.run(system, name, seed, proof.steps, settle_seconds=8, ready_between=True)
    except Exception:  # a trial that does not end is no proof
        print(f"{name}: the trial failed\n{traceback.format_exc()}", flush=True)
        return False
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    found = "; ".join(str(problem).splitlines()[0][:160] for problem in outcome.problems)
    print(f"{name}: {f'caught: {found}' if found else 'NOT NOTICED ' + outcome.summary}", flush=True)
    return bool(found)
