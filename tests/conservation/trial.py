"""One trial: traffic, harm on a schedule, rest, and the account."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.conservation.account import Problem, problems
from tests.conservation.evidence import Evidence, gather, history
from tests.conservation.faults import nothing
from tests.conservation.readers import Reader
from tests.conservation.schedule import Step
from tests.conservation.system import System
from tests.conservation.traffic import Ledger, Traffic

#: How long a settled system may take until copies that only the index of ids finds are one, seconds.
SETTLE_SECONDS = 30.0


@dataclass
class Outcome:
    """What a trial found. `problems` empty: everything was accounted for."""

    seed: int
    done: list[str]
    ledger: Ledger
    evidence: Evidence
    problems: list[Problem]
    recovery_seconds: float
    history: str = ""
    harms: Counter[str] = field(default_factory=Counter)
    #: By harm: what senders and readers were answered from its beginning until the next one's.
    seen: list[tuple[str, Counter[str], Counter[str]]] = field(default_factory=list)

    @property
    def summary(self) -> str:
        answers = ", ".join(f"{name} {n}" for name, n in sorted(self.ledger.answers.items()))
        evidence = self.evidence
        return (
            f"{len(self.ledger.acknowledged)} acknowledged, {len(self.ledger.in_doubt)} in doubt, "
            f"{len(evidence.stored)} stored, {len(evidence.raw)} raw, {len(evidence.letters)} dead letters, "
            f"{len(evidence.handoffs)} hand-offs, {len(evidence.mcp_calls)} MCP calls; {sum(self.harms.values())} harms "
            f"({', '.join(f'{name} {n}' for name, n in sorted(self.harms.items()))}); answers: {answers}; longest call "
            f"{self.ledger.longest_seconds:.1f} s; drained {self.recovery_seconds:.1f} s after the last harm"
        )

    @property
    def table(self) -> str:
        """What clients saw while each harm lasted."""

        def words(answers: Counter[str]) -> str:
            return ", ".join(f"{name} {n}" for name, n in sorted(answers.items())) or "-"

        return "\n".join(
            f"  {harm}\n    senders: {words(senders)}\n    readers: {words(readers)}"
            for harm, senders, readers in self.seen
        )

    @property
    def report(self) -> str:
        """For a person who must find out what happened."""
        lines = [f"seed {self.seed}", "schedule:", *(f"  {line}" for line in self.done), self.summary, self.table]
        lines += ["problems:", *(f"  {problem}" for problem in self.problems)]
        if self.history:
            lines += ["the first event concerned:", self.history]
        return "\n".join(lines)


def run(
    system: System,
    project: str,
    seed: int,
    steps: Sequence[Step],
    *,
    log: Callable[[str], None] = lambda line: None,
    ready_between: bool = False,
    settle_seconds: float = SETTLE_SECONDS,
) -> Outcome:
    """Break `system` under traffic as `steps` say; the account afterwards. `project` must be new: it names this trial's events.

    `ready_between`: wait for everything to be ready after each step, for harm that must meet a healthy system.
    """
    traffic = Traffic(system, project, seed)
    reader = Reader(system, project)
    harms = _Harms(system, seed, log, traffic.ledger.answers, reader.answers)
    traffic.start()
    reader.start()
    try:
        traffic.wait_for_more(200)
        for number, step in enumerate(steps):
            traffic.pause(step.wait_seconds)
            harms.do(number, step)
            if ready_between:
                system.wait_ready(120)
        harms.join()
        ended = time.monotonic()
        system.wait_ready(180)
        traffic.wait_for_more(100)
    finally:
        ledger = traffic.stop()
        reader.stop()
    system.wait_ready(180)
    system.wait_drained()
    recovery = time.monotonic() - ended
    evidence, found = _account(system, project, ledger, settle_seconds)
    first = next((problem.event_id for problem in found if problem.event_id), "")
    story = history(system, first) if first else ""
    return Outcome(seed, harms.done, ledger, evidence, found, recovery, story, harms.counts, harms.seen())


class _Harms:
    """Does the steps, each with a generator of its own, so that one that runs beside others does not change theirs."""

    def __init__(
        self,
        system: System,
        seed: int,
        log: Callable[[str], None],
        senders: Counter[str],
        readers: Counter[str],
    ) -> None:
        self._system, self._seed, self._log = system, seed, log
        self._answers = (senders, readers)
        self._marks: list[tuple[str, Counter[str], Counter[str]]] = []
        self._began = time.monotonic()
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="harm")
        self._running: list[Future[None]] = []
        self.done: list[str] = []
        self.counts: Counter[str] = Counter()

    def do(self, number: int, step: Step) -> None:
        """Blocks until the harm is over, unless others go on beside it."""
        future = self._threads.submit(self._do, number, step)
        self._running.append(future)
        if not step.beside:
            future.result()

    def join(self) -> None:
        """Until everything is over. Raises what a step raised."""
        self._threads.shutdown(wait=True)
        for future in self._running:
            future.result()

    def seen(self) -> list[tuple[str, Counter[str], Counter[str]]]:
        """By harm, the answers from its beginning to the next one's (or the trial's end)."""
        last = ("", Counter(self._answers[0]), Counter(self._answers[1]))
        ends = [*self._marks[1:], last][: len(self._marks)]
        return [
            (name, later[1] - senders, later[2] - readers)
            for (name, senders, readers), later in zip(self._marks, ends, strict=True)
        ]

    def _do(self, number: int, step: Step) -> None:
        at = time.monotonic() - self._began
        senders, readers = map(Counter, self._answers)
        self._marks.append((str(step), senders, readers))
        detail = step.fault(self._system, random.Random(self._seed * 10_000 + number), step.seconds)
        if step.fault is not nothing:
            self.counts[step.fault.__name__] += 1
            self.done.append(f"{at:6.1f} s {step}: {detail}")
            self._log(self.done[-1])


def _account(system: System, project: str, ledger: Ledger, settle_seconds: float) -> tuple[Evidence, list[Problem]]:
    """Problems that stay: what only settling removes gets the time that settling may take."""
    restless = system.wait_calm()
    deadline = time.monotonic() + settle_seconds
    while True:
        evidence = gather(system, project, restless)
        found = problems(ledger, evidence, project)
        if not found or time.monotonic() > deadline:
            return evidence, found
        time.sleep(2)
