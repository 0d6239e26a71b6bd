"""When a batch is large enough (policy) apart from what is in it (state). No clock of its own, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from contracts.dead_letters import SourceRecord

#: (topic, partition)
TopicPartition = tuple[str, int]

#: A batch waits at least this long, seconds: bounds the parts per second when little comes.
MIN_AGE_SECONDS = 0.25
#: A batch waits this many times as long as the insert before it took: inserting takes at most a fifth of the time as long as
#: waiting costs less than the greatest age. See docs/adr/0021.
WAIT_PER_INSERT = 4.0


@dataclass(slots=True)
class Batch:
    """Records and, with them, the offset each partition may be committed to once they are stored."""

    records: list[SourceRecord] = field(default_factory=list)
    #: Per partition: the offset after its last record.
    next_offsets: dict[TopicPartition, int] = field(default_factory=dict)
    #: Bytes of values.
    bytes: int = 0
    #: Clock reading when the first record came; None while the batch is empty.
    opened_at: float | None = None

    def add(self, record: SourceRecord, now: float) -> None:
        """Append `record`. Records of a partition must come in offset order."""
        if self.opened_at is None:
            self.opened_at = now
        self.records.append(record)
        self.next_offsets[record.topic, record.partition] = record.offset + 1
        self.bytes += len(record.value or b"")

    def extend(self, records: Sequence[SourceRecord], now: float) -> None:
        """:meth:`add` all of `records`."""
        if not records:
            return
        if self.opened_at is None:
            self.opened_at = now
        self.records += records
        for (topic, partition), offset in {record[:2]: record.offset for record in records}.items():
            self.next_offsets[topic, partition] = offset + 1
        self.bytes += sum([len(record.value or b"") for record in records])

    def split(self, count: int, opened_at: float) -> tuple[Batch, Batch]:
        """The first `count` records, and the others, of which the first came at `opened_at`."""
        rest = Batch()
        rest.extend(self.records[count:], opened_at)
        # What is read next in a partition once the first ones are stored is its first record among the others.
        firsts = {record[:2]: record.offset for record in reversed(rest.records)}
        return Batch(self.records[:count], self.next_offsets | firsts, self.bytes - rest.bytes, self.opened_at), rest

    def without(self, partitions: Iterable[TopicPartition]) -> Batch:
        """What is left when `partitions` are given away."""
        gone = set(partitions)
        left = Batch(opened_at=self.opened_at)
        for record in self.records:
            if (record.topic, record.partition) not in gone:
                left.add(record, self.opened_at or 0.0)
        if not left.records:
            left.opened_at = None
        return left


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Limits; whichever is reached first closes the batch."""

    max_rows: int
    #: Of values; a batch exceeds it by at most one poll.
    max_bytes: int
    #: From the first record on.
    max_age_seconds: float
    #: The same while inserts are quick; None: `max_age_seconds`, however long they take.
    min_age_seconds: float | None = None

    def is_full(self, batch: Batch) -> bool:
        """No more records should be added."""
        return len(batch.records) >= self.max_rows or batch.bytes >= self.max_bytes

    def wait_seconds(self, insert_seconds: float) -> float:
        """The age at which a batch is due, when the insert before it took `insert_seconds`."""
        if self.min_age_seconds is None:
            return self.max_age_seconds
        return min(self.max_age_seconds, max(self.min_age_seconds, WAIT_PER_INSERT * insert_seconds))

    def is_due(self, batch: Batch, now: float, insert_seconds: float = 0.0) -> bool:
        """The batch should be inserted: full, or old enough after an insert of `insert_seconds`."""
        if batch.opened_at is None:
            return False
        return self.is_full(batch) or now - batch.opened_at >= self.wait_seconds(insert_seconds)
