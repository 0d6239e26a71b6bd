"""When a worker that reads nothing is stuck, and when it is only idle."""

from __future__ import annotations

from collections.abc import Callable

from processors.watchdog import Idle, ReadWatchdog

STALL = 20.0


class Rig:
    def __init__(self, unread: int | None) -> None:
        self.found: Idle | None = Idle(0, {("raw", 0): 5})
        self.unread = unread
        self.left: list[tuple[int, str]] = []
        self.asked = 0
        self.now = 0.0
        self.dog = ReadWatchdog(
            lambda: self.found,
            self._answer,
            stall_seconds=STALL,
            leave=lambda status, reason: self.left.append((status, reason)),
            clock=lambda: self.now,
        )

    def _answer(self, _positions: object) -> int | None:
        self.asked += 1
        return self.unread

    def after(self, seconds: float, each: Callable[[], object] = lambda: None) -> list[tuple[int, str]]:
        for _ in range(int(seconds)):
            each()
            self.now += 1.0
            self.dog.look()
        return self.left


def test_records_that_are_not_read_end_the_process() -> None:
    rig = Rig(unread=7)
    assert rig.after(STALL) == []
    ((status, reason),) = rig.after(3)
    assert status == 75
    assert "7 records are there" in reason


def test_idle_or_without_kafka_nothing_is_stuck() -> None:
    for unread in (0, None):
        rig = Rig(unread)
        assert rig.after(10 * STALL) == []
        assert 0 < rig.asked <= 10


def test_work_and_commits_are_progress() -> None:
    rig = Rig(unread=7)

    def commits() -> None:
        rig.found = Idle(0, {("raw", 0): int(rig.now) // 10})

    assert rig.after(5 * STALL, commits) == []
    rig.found = None
    assert rig.after(5 * STALL) == []
    rig.found = Idle(0, {})
    assert rig.after(5 * STALL) == []


def test_time_in_which_the_process_stood_still_does_not_count() -> None:
    rig = Rig(unread=7)
    rig.now += 100 * STALL
    assert rig.after(STALL - 3) == []
