"""What is committed of each partition, and the count of dead letters that goes with it (sink/flood.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

from runtime.logs import get_logger
from sink.batch import TopicPartition as Partition
from sink.flood import FloodGuard
from sink.metrics import SinkMetrics
from sink.watchdog import Pulse

log = get_logger(__name__)

#: Longest wait for what the group has committed, when partitions are assigned, seconds.
TAKE_OVER_SECONDS = 10.0


class Offsets:
    """Of the partitions that this member has. Belongs to the loop's thread."""

    def __init__(self, consumer: Consumer, flood: FloodGuard, metrics: SinkMetrics, pulse: Pulse) -> None:
        self._consumer = consumer
        self._flood = flood
        self._metrics = metrics
        self._pulse = pulse
        self._committed: dict[Partition, int] = {}
        self._uncommitted: dict[Partition, int] = {}
        #: What is committed with them.
        self._notes: dict[Partition, str] = {}

    def take_over(self, partitions: Sequence[TopicPartition]) -> None:
        """Go on counting dead letters where the one before stopped. Blocks for the group's answer."""
        try:
            known = self._consumer.committed(list(partitions), TAKE_OVER_SECONDS)
        except KafkaException as error:
            log.warning("what was counted of dead letters is not known; counting begins anew", error=str(error))
            known = list(partitions)
        for one in known:
            begun = one.offset >= 0
            self._flood.take_over((one.topic, one.partition), one.metadata if begun else None)
            self._pulse.positions[one.topic, one.partition] = one.offset if begun else None

    def notes(self, partitions: Iterable[Partition]) -> dict[Partition, str]:
        """The counts as they are now, to be committed with the offsets they belong to."""
        return {partition: self._flood.note(partition) for partition in partitions}

    def commit(self, next_offsets: Mapping[Partition, int], notes: Mapping[Partition, str]) -> None:
        """Synchronously; what fails is tried again with the next commit or check."""
        self._uncommitted.update(next_offsets)
        self._notes.update(notes)
        offsets = [
            TopicPartition(topic, number, offset, self._notes.get((topic, number), ""))
            for (topic, number), offset in self._uncommitted.items()
        ]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            self._metrics.commit_failures.inc()
            log.warning("commit failed; rows stay once when they are read again", error=str(error))
            self._pulse.uncommitted = True
            return
        self._committed.update(self._uncommitted)
        self._uncommitted.clear()
        self._pulse.uncommitted = False

    def check(self) -> None:
        """Commit what failed, and tell the lag."""
        if self._uncommitted:
            self.commit({}, {})
        for (topic, number), offset in self._committed.items():
            _low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, number), cached=True)
            if high >= 0:
                self._metrics.consumer_lag.labels(topic, str(number)).set(max(high - offset, 0))

    def forget(self, partitions: Sequence[Partition]) -> None:
        """They are somebody else's now."""
        self._flood.forget(partitions)
        for key in partitions:
            self._uncommitted.pop(key, None)
            self._pulse.positions.pop(key, None)
            if self._committed.pop(key, None) is not None:
                self._metrics.consumer_lag.remove(key[0], str(key[1]))
        self._pulse.uncommitted = bool(self._uncommitted)
