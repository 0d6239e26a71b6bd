"""`tail`: each event once, late ones too, until Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chaukas.spec.common.v1 import events_pb2
from hypothesis import given
from hypothesis import strategies as st

from cli.client.following import Follower
from cli.client.tail import line
from tests.support.events import event
from tests.unit.cli.fake_gateway import KEY, UNAVAILABLE, FakeGateway, serving

S = 1_000_000_000


def at(event_id: str, ns: int) -> events_pb2.Event:
    made = event(event_id=event_id)
    made.timestamp.FromNanoseconds(ns)
    return made


class Store:
    """Events by time, in pages of two."""

    def __init__(self) -> None:
        self.events: list[events_pb2.Event] = []
        self.now = 1_000_000 * S
        self.read_events = 0

    def read(self, since_ns: int) -> Iterator[list[events_pb2.Event]]:
        found = sorted(
            (one for one in self.events if one.timestamp.ToNanoseconds() >= since_ns),
            key=lambda one: (one.timestamp.ToNanoseconds(), one.event_id),
        )
        self.read_events += len(found)
        for start in range(0, len(found), 2):
            yield found[start : start + 2]

    def follower(self, lookback_seconds: float = 60) -> Follower:
        made = Follower(self.read, lookback_seconds, lambda: self.now)
        made.prime()
        return made


def polled(follower: Follower) -> list[str]:
    return [one.event_id for page in follower.poll() for one in page]


@given(
    st.lists(
        # Seconds that pass before each, by how much it is late, how far it is dated ahead.
        st.tuples(st.integers(0, 4), st.integers(0, 30), st.sampled_from([0, 0, 0, 5, 100_000])),
        max_size=40,
    )
)
def test_every_event_within_the_look_back_is_shown_once(arrivals: list[tuple[int, int, int]]) -> None:
    store = Store()
    store.events.append(at("before", store.now - 2 * S))
    follower = store.follower()
    shown: list[str] = []
    for number, (pause, late, ahead) in enumerate(arrivals):
        for _ in range(pause):
            store.now += S
            shown += polled(follower)
        store.events.append(at(str(number), store.now - late * S + ahead * S))
    for _ in range(25):
        store.now += S
        shown += polled(follower)
    assert sorted(shown) == sorted(str(number) for number in range(len(arrivals)))


def test_quick_polls_read_little_and_memory_forgets() -> None:
    store = Store()
    follower = store.follower()
    for number in range(2_000):
        store.now += S // 10
        store.events.append(at(str(number), store.now))
        if number % 10 == 9:
            polled(follower)
    assert len(follower._seen) <= 800  # a minute's, and what came since the last full read
    store.read_events = 0
    store.now += S // 10
    polled(follower)
    assert store.read_events <= 60


def test_a_line_is_one_line_whatever_the_event_says() -> None:
    made = event(agent_name="evil\x1b[2J\nname", session="s\u202e" * 50)
    text = line(made).plain
    assert "\x1b" not in text
    assert "\n" not in text
    assert "\u202e" not in text


@contextlib.contextmanager
def tailing(gateway: FakeGateway, tmp_path: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = {
        **os.environ,
        "GATEWAY_ENDPOINT": gateway.endpoint,
        "CHAUKAS_API_KEY": KEY,
        "STACK_DIR": str(tmp_path),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "tail", "--json", "--interval", "0.2", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run that was started in the background ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_command_follows_and_ends_in_order(tmp_path: Path) -> None:
    with serving() as gateway, contextlib.ExitStack() as stack:
        gateway.events = [at(f"old{n}", time.time_ns() - 10 * S + n) for n in range(3)]
        process = stack.enter_context(tailing(gateway, tmp_path, "--lines", "2"))

        def next_id() -> Any:
            assert process.stdout is not None
            return json.loads(process.stdout.readline())["event_id"]

        assert [next_id(), next_id()] == ["old1", "old2"]
        gateway.events.append(at("new1", time.time_ns()))
        assert next_id() == "new1"
        gateway.failures = [UNAVAILABLE, UNAVAILABLE]
        gateway.events.append(at("late", time.time_ns() - 3 * S))
        assert next_id() == "late"
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=30)
        assert process.returncode == 0, said
        assert rest == ""
        assert "Traceback" not in said


def test_whoever_reads_may_stop(tmp_path: Path) -> None:
    with serving() as gateway, contextlib.ExitStack() as stack:
        gateway.events = [at("one", time.time_ns())]
        process = stack.enter_context(tailing(gateway, tmp_path))
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        gateway.events += [at(f"more{n}", time.time_ns()) for n in range(100)]
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
