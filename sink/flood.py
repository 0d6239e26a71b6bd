"""Stops the sink before a bad deploy drains its topics into the dead letters (:mod:`contracts.flood` says what a flood is).

Looked at before a batch is inserted, and again while refused rows are isolated: nothing of that batch is then committed, so a
restart reads it again and stops again, until the cause is gone or an operator accepts the letters. Counting begins where
the process began to read: the records before that were committed as what they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from contracts import headers as h
from contracts.dead_letters import SourceRecord
from contracts.errors import PermanentError
from contracts.flood import Flood
from contracts.v1.dead_letter_pb2 import DeadLetter
from sink.batch import TopicPartition


class FloodOfDeadLetters(PermanentError):
    """Too many records cannot be stored; the message says how many, why, and what to do."""

    def __init__(self, what: str, where: str, reasons: Sequence[str]) -> None:
        super().__init__(
            f"{what} of {where} cannot be stored ({', '.join(reasons)}). Nothing of this run is committed. Remove the cause, "
            "or accept these records as dead letters with SINK_DEAD_LETTERS_ACCEPTED_UNTIL=<RFC 3339 time after the last of "
            "them>."
        )


def tenant_of(record: SourceRecord) -> str | None:
    """The tenant its header names."""
    value = next((value for name, value in record.headers if name == h.TENANT_ID and value), None)
    return None if value is None else value.decode(errors="replace")


class FloodGuard:
    """Counts per partition; `accepted_until_ms`: letters of records with an earlier Kafka time do not count (Unix ms)."""

    def __init__(self, accepted_until_ms: int = 0) -> None:
        self._accepted_until_ms = accepted_until_ms
        self._partitions: dict[TopicPartition, Flood] = {}

    def check(self, records: Sequence[SourceRecord], letters: Sequence[DeadLetter]) -> None:
        """Count a batch and its letters. Raises :class:`FloodOfDeadLetters`."""
        if not letters:
            for partition, count in Counter((record.topic, record.partition) for record in records).items():
                self._partitions.setdefault(partition, Flood()).good(count)
            return
        reasons = {(letter.topic, letter.partition, letter.offset): letter.reason for letter in letters}
        for record in records:
            flood = self._partitions.setdefault((record.topic, record.partition), Flood())
            reason = reasons.get((record.topic, record.partition, record.offset))
            if reason is None:
                flood.good()
                continue
            self.count(flood, record, reason)
            if what := flood.problem():
                where = f"{record.topic}-{record.partition} up to offset {record.offset}"
                raise FloodOfDeadLetters(what, where, flood.reasons())

    def count(self, flood: Flood, record: SourceRecord, reason: str) -> None:
        """Count one bad record in `flood`, unless it is accepted."""
        if record.timestamp_ms < self._accepted_until_ms:
            flood.skip()
        else:
            flood.bad(tenant_of(record), reason)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """These belong to somebody else now."""
        for partition in partitions:
            self._partitions.pop(partition, None)
