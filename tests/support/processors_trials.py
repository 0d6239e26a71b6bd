"""What workers must survive, each as one trial: `make test` runs them once and short, `make chaos` again and again.

A trial starts workers on topics of its own, does its harm under traffic, and ends with everything committed. Every trial
ends with the same check: nothing lost, copies identical, first copies of a session in order, lag 0.
"""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.broker import Broker
from tests.support.processors import RawTopic, Worker, Workers
from tests.support.processors_check import check, metrics, ready, traffic
from tests.support.waiting import wait_for

#: The workers' session timeout in trials, seconds.
SESSION_SECONDS = 6
_FAULTY = "tests.support.faulty_worker"

#: Gets the workers, the broker, a seed and how much longer than the shortest form it should be; returns what to report.
Trial = Callable[[Workers, Broker, int, int], str]


@contextmanager
def flowing(workers: Workers, events: list[Any], *, every: float = 0.15) -> Iterator[threading.Thread]:
    """Sends `events` in fifties meanwhile; when the block is left, all of them are in the raw topic."""
    raw = RawTopic(workers.kafka)

    def send() -> None:
        for first in range(0, len(events), 50):
            raw.send(events[first : first + 50])
            time.sleep(every)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield thread
    finally:
        thread.join()


def enriched(workers: Workers) -> int:
    return sum(workers.ends(workers.kafka.topics.enriched).values())


def progress(workers: Workers, thread: threading.Thread, records: int = 50) -> None:
    """Until `records` more were enriched, or nothing more is sent."""
    before = enriched(workers)
    wait_for("progress", lambda: enriched(workers) > before + records or not thread.is_alive(), every=0.1)


def finish(workers: Workers) -> str:
    workers.wait_until_done()
    return f"{check(workers)} duplicates"


def kills(workers: Workers, broker: Broker, seed: int, scale: int) -> str:
    """kill -9 of one of two workers in turn, each replaced at once; a fifth are SIGTERMs. No duplicate storm: a kill repeats
    nothing that was committed, and neither a SIGTERM nor a rebalance repeats anything."""
    rng = random.Random(seed)
    alive = [workers.start(), workers.start()]
    killed = 0
    uncommitted = 0  # when each kill came, all together
    with flowing(workers, traffic(seed, 100 * scale)) as thread:
        while thread.is_alive() and killed < 3 * scale:
            progress(workers, thread, rng.randrange(20, 400))
            victim = alive.pop(0)
            if rng.random() < 0.2:
                wait_for("it to have started", lambda v=victim: ready(v))  # type: ignore[misc]
                assert victim.stop() == 0
            else:
                victim.kill()
                uncommitted += workers.lag()
            killed += 1
            alive.append(workers.start())
    workers.wait_until_done()
    duplicates = check(workers)
    assert duplicates <= uncommitted
    assert all(worker.stop() == 0 for worker in alive)
    return f"{killed} killed, {duplicates} duplicates of {uncommitted} records that were not committed"


def terminations(workers: Workers, broker: Broker, seed: int, scale: int) -> str:
    """SIGTERM under load: status 0, at once, and nothing is repeated."""
    longest = 0.0
    with flowing(workers, traffic(seed, 80 * scale)) as thread:
        for _ in range(2 * scale):
            worker = workers.start()
            wait_for("the worker", lambda w=worker: ready(w))  # type: ignore[misc]
            progress(workers, thread)
            start = time.monotonic()
            assert worker.stop() == 0
            longest = max(longest, time.monotonic() - start)
    workers.start()
    workers.wait_until_done()
    assert check(workers) == 0
    return f"longest stop {longest:.1f} s, 0 duplicates"


def zombie(workers: Workers, broker: Broker, seed: int, scale: int) -> str:
    """SIGSTOP of one of two workers for longer than its session, under traffic; then it wakes up as a zombie."""
    alive = [workers.start(), workers.start()]
    with flowing(workers, traffic(seed, 60 * scale)) as thread:
        for number in range(scale):
            progress(workers, thread)
            victim = alive[number % 2]
            victim.process.send_signal(signal.SIGSTOP)
            awake = time.monotonic() + SESSION_SECONDS + 4
            wait_for("the session to end", lambda until=awake: time.monotonic() > until)  # type: ignore[misc]
            victim.process.send_signal(signal.SIGCONT)
    result = finish(workers)
    assert all(worker.stop() == 0 for worker in alive)
    return result


def broker_kill(workers: Workers, broker: Broker, seed: int, scale: int) -> str:
    """kill -9 of the broker under load, away for some seconds; two workers survive it."""
    alive = [workers.start(), workers.start()]
    events = traffic(seed, 60 * scale)
    wait_for("both", lambda: all(ready(worker) for worker in alive))
    with flowing(workers, events[: len(events) // 2]) as thread:
        progress(workers, thread)
    broker.kill()
    try:
        wait_for("the workers to see it", lambda: not any(ready(worker) for worker in alive))
    finally:
        broker.start()
    with flowing(workers, events[len(events) // 2 :]):
        pass
    result = finish(workers)
    assert all(worker.stop() == 0 for worker in alive)
    return result


def raises_once(workers: Workers, broker: Broker, seed: int, scale: int) -> str:
    """The agent raises after it has produced a batch: the batch comes again, the worker goes on."""
    worker = workers.start(module=_FAULTY, FAULT="raise-once", PROCESSORS_BATCH_RECORDS="50")
    with flowing(workers, traffic(seed, 20 * scale), every=0.02):
        pass
    result = finish(workers)
    assert "chaukas_processors_redeliveries_total 1.0" in metrics(worker)
    assert worker.stop() == 0
    return result


def raises_always(workers: Workers, broker: Broker, seed: int, scale: int) -> str:
    """The agent raises on and on: the worker ends with status 1, nothing of it is committed, a healthy one finishes."""
    worker = workers.start(module=_FAULTY, FAULT="raise-always", PROCESSORS_BATCH_RECORDS="50")
    with flowing(workers, traffic(seed, 20 * scale), every=0.02):
        pass
    assert worker.exit_status() == 1
    assert workers.lag() > 0
    workers.start()
    return finish(workers)


def never_done(workers: Workers, broker: Broker, seed: int, scale: int) -> str:
    """A batch is never finished: it is not committed, the watchdog ends the worker with 75, a healthy one finishes."""
    worker = workers.start(
        module=_FAULTY, FAULT="never-done", PROCESSORS_BATCH_RECORDS="50", PROCESSORS_STALL_SECONDS="4"
    )
    with flowing(workers, traffic(seed, 20 * scale), every=0.02):
        pass
    assert worker.exit_status() == 75
    assert workers.lag() > 0
    workers.start()
    return finish(workers)


def burns(workers: Workers, broker: Broker, seed: int, scale: int) -> str:
    """The agent keeps its event loop busy for longer than the session: no rebalance, nothing repeated."""
    seconds = SESSION_SECONDS + 3
    worker = workers.start(module=_FAULTY, FAULT="burn", FAULT_SECONDS=str(seconds), PROCESSORS_BATCH_RECORDS="50")
    with flowing(workers, traffic(seed, 20 * scale), every=0.02):
        pass
    workers.wait_until_done()
    assert check(workers) == 0
    assert worker.log.read_text().count('"partitions assigned"') == 1
    return f"{seconds} s burnt, 0 duplicates"


def poison(workers: Workers, broker: Broker, seed: int, scale: int) -> str:
    """Records of all kinds that cannot be processed, between good ones: each one a dead letter, no batch lost."""
    rng = random.Random(seed)
    raw = RawTopic(workers.kafka)
    events = traffic(seed, 60 * scale)
    bad = 0
    for first in range(0, len(events), 200):
        raw.send(events[first : first + 200])
        raw.send_bytes(rng.randbytes(rng.randrange(1, 300)), rng.choice([b"k", None]), [("tenant_id", b"t1")])
        bad += 1
    workers.start()
    result = finish(workers)
    letters = sum(workers.ends(workers.kafka.topics.dead_letters).values())
    assert letters == bad
    return f"{bad} dead letters, {result}"


def joins_and_leaves(workers: Workers, broker: Broker, seed: int, scale: int) -> str:
    """Workers join and leave under traffic: no duplicate; reports the longest time in which nothing was enriched."""
    workers.start()
    gaps = _Gaps(workers)
    with flowing(workers, traffic(seed, 120 * scale), every=0.1) as thread:
        progress(workers, thread)
        gaps.start()
        for _ in range(scale):
            second = workers.start()
            wait_for("it to join", lambda s=second: ready(s))  # type: ignore[misc]
            progress(workers, thread, 200)
            assert second.stop() == 0
            workers.running.remove(second)
            progress(workers, thread, 200)
        gaps.stop()
    workers.wait_until_done()
    assert check(workers) == 0
    return f"longest pause {gaps.longest:.1f} s, 0 duplicates"


def static_restarts(workers: Workers, broker: Broker, seed: int, scale: int) -> str:
    """Static members are killed or stopped and come back within their session, under traffic: no partition moves."""
    rng = random.Random(seed)
    session = {"PROCESSORS_SESSION_SECONDS": "30"}
    members = {name: workers.start(PROCESSORS_GROUP_INSTANCE_ID=name, **session) for name in ("one", "two")}
    everything = sorted(workers.ends(workers.kafka.topics.raw))

    def shared() -> bool:
        latest = [partition for worker in members.values() for partition in (_assigned(worker) or [[]])[-1]]
        return sorted(latest) == everything and all(_assigned(worker) for worker in members.values())

    wait_for("both to have their share", shared)
    before = {name: _assigned(worker) for name, worker in members.items()}
    with flowing(workers, traffic(seed, 60 * scale)) as thread:
        for number in range(2 * scale):
            progress(workers, thread)
            name, other = rng.sample(["one", "two"], 2) if number > 1 else (["one", "two"], ["two", "one"])[number]
            before[other] = _assigned(members[other])
            if rng.random() < 0.5:
                members[name].kill()
            else:
                assert members[name].stop() == 0
            members[name] = workers.start(PROCESSORS_GROUP_INSTANCE_ID=name, **session)
            wait_for("it to come back", lambda again=members[name]: ready(again) and _assigned(again))  # type: ignore[misc]
            assert _assigned(members[name]) == [before[name][-1]]
            assert _assigned(members[other]) == before[other]
            before[name] = _assigned(members[name])
    result = finish(workers)
    return f"{2 * scale} restarts, {result}"


def _assigned(worker: Worker) -> list[list[int]]:
    """What the worker had after each assignment; an empty one is only the way to another."""
    lines = [json.loads(line) for line in worker.log.read_text().splitlines() if '"partitions assigned"' in line]
    return [line["now"] for line in lines if line["now"]]


class _Gaps(threading.Thread):
    """Watches the enriched topic while records keep coming in."""

    def __init__(self, workers: Workers) -> None:
        super().__init__(daemon=True)
        self._watch = Workers(workers.kafka, workers.directory, workers.window, group=workers.group)
        self._ended = threading.Event()
        self.longest = 0.0

    def run(self) -> None:
        with self._watch:
            seen: dict[int, int] = {}
            since: dict[int, float] = {}
            while not self._ended.wait(0.05):
                now = time.monotonic()
                for number, end in self._watch.ends(self._watch.kafka.topics.enriched).items():
                    if seen.get(number) != end:
                        if number in since:
                            self.longest = max(self.longest, now - since[number])
                        seen[number], since[number] = end, now

    def stop(self) -> None:
        self._ended.set()
        self.join(30)


TRIALS: dict[str, Trial] = {
    trial.__name__: trial
    for trial in (
        kills,
        terminations,
        zombie,
        broker_kill,
        raises_once,
        raises_always,
        never_done,
        burns,
        poison,
        joins_and_leaves,
        static_restarts,
    )
}
