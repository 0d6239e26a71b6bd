"""The insert that runs: one batch on its way into the store, on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field

from contracts.v1.dead_letter_pb2 import DeadLetter
from sink.batch import TopicPartition
from sink.prepare import Prepared
from sink.watchdog import Pulse
from sink.writer import Abandoned, Writer


@dataclass(slots=True)
class Insert:
    """A batch on its way."""

    prepared: Prepared
    #: Set: it is given up, and nothing of it may be committed.
    abandon: threading.Event
    future: Future[list[DeadLetter]]
    started_at: float
    #: When its first record was read.
    read_at: float
    #: What is committed with its offsets.
    notes: Mapping[TopicPartition, str] = field(default_factory=dict)


class Inserts:
    """At most one runs. All methods belong to the loop's thread; :attr:`running` may be read by any."""

    def __init__(self, writer: Writer, pulse: Pulse, clock: Callable[[], float]) -> None:
        self._writer = writer
        self._pulse = pulse
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sink-insert")
        self.running: Insert | None = None
        #: How long the last one took.
        self.last_seconds = 0.0

    def begin(self, prepared: Prepared, read_at: float | None) -> None:
        """None may run. `read_at` None: nothing was read, it is now."""
        abandon = threading.Event()
        self._pulse.busy = True
        future = self._thread.submit(self._writer.store, prepared, abandon)
        now = self._clock()
        self.running = Insert(prepared, abandon, future, now, now if read_at is None else read_at)

    def wait(self, seconds: float) -> bool:
        """Whether the one that runs is through (or there is none) after at most `seconds`."""
        if self.running is None:
            return True
        try:
            self.running.future.exception(seconds)
        except FutureTimeout:
            return False
        return True

    def take(self) -> Insert | None:
        """The one that ran if it is through and was not given up. Raises what the writer raised beyond its own errors."""
        insert = self.running
        if insert is None or not insert.future.done():
            return None
        self.running = None
        self.last_seconds = self._clock() - insert.started_at
        self._pulse.busy = False
        try:
            insert.future.result()
        except Abandoned:
            return None
        return insert

    def give_up(self) -> None:
        """It may end, and nothing of it is committed."""
        if self.running is not None:
            self.running.abandon.set()

    def close(self) -> None:
        """Blocks until what runs has ended, given up."""
        self.give_up()
        self._thread.shutdown(wait=True)
