"""Does Kafka take records? Asked at the start, every few seconds, and at once after a failed delivery.

At the start the topics' limits are checked too; a Kafka that is not there yet, a missing topic or a limit that is too small
keeps the process not ready, says so in the log, and is looked at again until it is put right: no restart is needed. Blocking
calls run on a thread of their own that never keeps the process from leaving.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from contracts.errors import Unavailable
from gateway.publisher import Publisher
from runtime.health import Readiness
from runtime.kafka import TopicMisconfigured, check_topics
from runtime.logs import get_logger
from runtime.settings import KafkaSettings

CONDITION = "kafka"

log = get_logger(__name__)


class KafkaWatch:
    """Keeps the readiness condition ``kafka`` current; `on_change` is called in the event loop after each look."""

    def __init__(
        self,
        kafka: KafkaSettings,
        publisher: Publisher,
        readiness: Readiness,
        *,
        interval_seconds: float,
        on_change: Callable[[], None],
    ) -> None:
        self._kafka = kafka
        self._publisher = publisher
        self._readiness = readiness
        self._interval = interval_seconds
        self._on_change = on_change
        self._topics_checked = False
        self._problem: str | None = None
        self._stop = threading.Event()
        self._now = threading.Event()
        self._loop = asyncio.get_running_loop()
        readiness.set(CONDITION, "not checked yet")
        self._thread = threading.Thread(target=self._run, name="kafka-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def failed(self, problem: str) -> None:
        """A delivery failed: not ready until the next look, which comes at once. In the event loop."""
        self._set(problem)
        self._now.set()

    def stop(self) -> None:
        """Ends soon; does not wait."""
        self._stop.set()
        self._now.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._now.clear()
            problem = self._look()
            try:
                self._loop.call_soon_threadsafe(self._set, problem)
            except RuntimeError:
                return  # the loop is closed: the process is leaving
            self._now.wait(self._interval)

    def _look(self) -> str:
        """What is wrong; empty when nothing is."""
        timeout = max(self._interval, 1.0)
        if not self._topics_checked:
            try:
                check_topics(self._kafka, timeout)
            except (TopicMisconfigured, Unavailable) as error:
                return str(error)
            self._topics_checked = True
        return self._publisher.ping(timeout)

    def _set(self, problem: str) -> None:
        if self._stop.is_set():
            return
        if problem != self._problem:
            self._problem = problem
            if problem:
                log.warning("kafka_not_ready", problem=problem)
            else:
                log.info("kafka_ready", topic=self._publisher.topic)
        self._readiness.set(CONDITION, problem)
        self._on_change()
