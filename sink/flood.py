"""Stops the sink before a bad deploy drains its topics into the dead letters (:mod:`contracts.flood` says what a flood is).

Looked at before a batch is inserted, while refused rows are isolated, and again before a batch's letters are sent: nothing of
that batch is then committed, so a restart reads it again and stops again, until the cause is gone or an operator accepts the
letters. What was counted before travels with the committed offsets (as the commit's metadata): a process that is started
again, or gets the partition, counts on from there, and so never takes a topic apart crash by crash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter

from contracts import headers as h
from contracts.dead_letters import SourceRecord
from contracts.errors import PermanentError
from contracts.flood import Flood
from contracts.v1.dead_letter_pb2 import DeadLetter
from runtime.logs import get_logger
from sink.batch import TopicPartition

log = get_logger(__name__)


#: Topic and partition of a SourceRecord.
_WHERE = itemgetter(0, 1)


class FloodOfDeadLetters(PermanentError):
    """Too many records cannot be stored; the message says how many, why, and what to do."""

    def __init__(self, what: str, where: str, reasons: Sequence[str], latest: str = "") -> None:
        example = f"; the latest: {latest}" if latest else ""
        super().__init__(
            f"{what} of {where} cannot be stored ({', '.join(reasons)}{example}). Nothing of this batch is committed. Remove the "
            "cause, or accept these records as dead letters: `chaukas-gateway dlq accept --stage sink --until now` "
            "(or SINK_DEAD_LETTERS_ACCEPTED_UNTIL=<RFC 3339 time after the last of them>)."
        )


def tenant_of(record: SourceRecord) -> str | None:
    """The tenant its header names."""
    value = next((value for name, value in record.headers if name == h.TENANT_ID and value), None)
    return None if value is None else value.decode(errors="replace")


class FloodGuard:
    """Counts per partition, one batch after the other.

    `accepted_until_ms`: letters of records with an earlier Kafka time do not count (Unix ms). `ask_accepted` tells what holds
    by now (blocking); it is asked when a flood is about to stop the process. `on_alarm`: one tenant's records would be a flood.
    """

    def __init__(
        self,
        accepted_until_ms: int = 0,
        ask_accepted: Callable[[], int] | None = None,
        on_alarm: Callable[[], object] = lambda: None,
    ) -> None:
        self._accepted_until_ms = accepted_until_ms
        self._on_alarm = on_alarm
        self._ask_accepted = ask_accepted
        self._partitions: dict[TopicPartition, Flood] = {}
        #: As they were before the latest batch.
        self._before: dict[TopicPartition, Flood] = {}

    def ask_accepted(self) -> bool:
        """Learn until when letters are accepted; whether that is later than was known. Blocks."""
        until_ms = self._ask_accepted() if self._ask_accepted is not None else 0
        later = until_ms > self._accepted_until_ms
        self._accepted_until_ms = max(until_ms, self._accepted_until_ms)
        return later

    def check(self, records: Sequence[SourceRecord], letters: Sequence[DeadLetter]) -> None:
        """Count the next batch and its letters. Raises :class:`FloodOfDeadLetters`."""
        if not letters:
            counts: Counter[TopicPartition] = Counter(map(_WHERE, records))
            self._before = {partition: self._flood(partition).copy() for partition in counts}
            for partition, count in counts.items():
                self._flood(partition).good(count)
            return
        self._before = {}
        for record in records:
            partition = (record.topic, record.partition)
            if partition not in self._before:
                self._before[partition] = self._flood(partition).copy()
        self.check_again(records, letters)

    def check_again(self, records: Sequence[SourceRecord], letters: Sequence[DeadLetter]) -> None:
        """Count the latest batch anew, with more letters than :meth:`check` knew. Raises :class:`FloodOfDeadLetters`."""
        try:
            self._count_batch(records, letters)
        except FloodOfDeadLetters:
            if not self.ask_accepted():
                raise
            self._count_batch(records, letters)

    def _count_batch(self, records: Sequence[SourceRecord], letters: Sequence[DeadLetter]) -> None:
        known = {(letter.topic, letter.partition, letter.offset): letter for letter in letters}
        floods = {partition: flood.copy() for partition, flood in self._before.items()}
        for record in records:
            partition = (record.topic, record.partition)
            flood = floods.setdefault(partition, Flood())
            letter = known.get((*partition, record.offset))
            if letter is None:
                flood.good()
                continue
            self.count(flood, record, letter.reason)
            if what := flood.problem():
                where = f"{record.topic}-{record.partition} up to offset {record.offset}"
                raise FloodOfDeadLetters(what, where, flood.reasons(), letter.message)
            if what := flood.alarm():
                self._on_alarm()
                log.error(
                    "one tenant's records cannot be stored",
                    what=what,
                    topic=record.topic,
                    partition=record.partition,
                    up_to_offset=record.offset,
                    reason=letter.reason,
                )
        self._partitions.update(floods)

    def count(self, flood: Flood, record: SourceRecord, reason: str) -> None:
        """Count one bad record in `flood`, unless it is accepted."""
        if record.timestamp_ms < self._accepted_until_ms:
            flood.skip()
        else:
            flood.bad(tenant_of(record), reason)

    def note(self, partition: TopicPartition) -> str:
        """What was counted there, to be committed with the offset after the latest batch."""
        return self._flood(partition).note()

    def take_over(self, partition: TopicPartition, note: str | None) -> None:
        """This partition is ours now; `note` was committed with its offset."""
        self._partitions[partition] = Flood.of_note(note)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """These belong to somebody else now."""
        for partition in partitions:
            self._partitions.pop(partition, None)

    def _flood(self, partition: TopicPartition) -> Flood:
        return self._partitions.setdefault(partition, Flood())
