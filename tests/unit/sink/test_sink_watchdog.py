"""When the writer counts as stuck, and when it only waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from runtime.unread import Partition
from sink.watchdog import Pulse, Watchdog

STALL, INSERT = 100.0, 50.0
HERE = ("enriched", 0)


class Rig:
    """A watchdog that looks once a second of a clock of its own."""

    def __init__(self, unread: int | None = 0) -> None:
        self.pulse = Pulse(positions={HERE: 5})
        self.left: list[tuple[int, str]] = []
        self.shown: list[float] = []
        self.unread = unread
        self.asked: list[Mapping[Partition, int | None]] = []
        self.now = 0.0
        self.dog = Watchdog(
            self.pulse,
            self._answer,
            stall_seconds=STALL,
            insert_seconds=INSERT,
            leave=lambda status, reason: self.left.append((status, reason)),
            show=self.shown.append,
            clock=lambda: self.now,
        )

    def _answer(self, positions: Mapping[Partition, int | None]) -> int | None:
        self.asked.append(positions)
        return self.unread

    def after(self, seconds: float, each: Callable[[], object] = lambda: None) -> str:
        """What it said after so many looks; `each` happens before each of them."""
        for _ in range(int(seconds)):
            each()
            self.now += 1.0
            self.dog.look()
            if self.left:
                break
        return self.left[-1][1] if self.left else ""

    def turn(self) -> None:
        self.pulse.turns += 1


def test_an_idle_writer_is_never_stuck() -> None:
    rig = Rig()
    assert rig.after(10 * STALL, rig.turn) == ""
    assert max(rig.shown) == 0.0
    assert len(rig.asked) < 11, "Kafka is asked only now and then"


def test_an_insert_that_does_not_return_is() -> None:
    rig = Rig(unread=None)
    rig.pulse.inserting, rig.pulse.busy = True, True
    assert rig.after(STALL + INSERT, rig.turn) == ""
    assert "an insert has not returned" in rig.after(3, rig.turn)
    assert rig.left[0][0] == 75


def test_waiting_for_a_store_that_is_away_is_not() -> None:
    rig = Rig(unread=1000)
    rig.pulse.busy = True

    def attempt() -> None:
        rig.turn()
        rig.pulse.inserting = int(rig.now) % 60 > 0  # it gives up after a minute, and tries again
        rig.pulse.inserts = int(rig.now) // 60

    assert rig.after(20 * STALL, attempt) == ""


def test_a_loop_that_does_not_turn_is_while_kafka_answers() -> None:
    assert "has not answered" in Rig().after(STALL + 3)
    rig = Rig(unread=None)
    assert rig.after(5 * STALL) == ""
    rig.unread = 0
    assert rig.after(STALL * 3 / 4 - 5) == "", "Kafka came back: the loop gets time of its own"
    assert rig.after(STALL) != ""


def test_a_commit_that_never_succeeds_is_while_kafka_answers() -> None:
    rig = Rig()
    rig.pulse.uncommitted = True

    def work() -> None:
        rig.turn()
        rig.pulse.polled += 10

    assert "could not be committed" in rig.after(STALL + 3, work)
    rig = Rig(unread=None)
    rig.pulse.uncommitted = True
    assert rig.after(5 * STALL, rig.turn) == ""


def test_nothing_read_although_there_is_something_is() -> None:
    rig = Rig(unread=7)
    assert "7 records are there" in rig.after(STALL + 3, rig.turn)
    assert rig.asked == [{HERE: 5}]


def test_a_batch_in_work_reads_nothing_and_is_not_stuck() -> None:
    rig = Rig(unread=7)
    rig.pulse.busy = True
    assert rig.after(5 * STALL, rig.turn) == ""


def test_time_in_which_the_whole_process_stood_still_does_not_count() -> None:
    rig = Rig()
    rig.now += 100 * STALL
    assert rig.after(STALL - 5) == ""


@pytest.mark.parametrize("part", ["turns", "polled"])
def test_progress_starts_anew(part: str) -> None:
    rig = Rig(unread=7)

    def now_and_then() -> None:
        if part == "polled":
            rig.turn()
        if int(rig.now) % 90 == 0:
            setattr(rig.pulse, part, getattr(rig.pulse, part) + 1)
            rig.pulse.polled += 1

    assert rig.after(10 * STALL, now_and_then) == ""


def test_stopping_ends_nothing() -> None:
    rig = Rig()
    rig.dog.stop()
    assert rig.after(2 * STALL) == ""
