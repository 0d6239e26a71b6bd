"""Counting the letters of a reading: each once, whatever the number of its repeats. Pure; bounded memory per letter."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from cli.dlq.letters import Entry
from contracts import headers as h
from contracts.v1.dead_letter_pb2 import DeadLetter


class Row(NamedTuple):
    """One letter without content. Sorts by time, then by its place in the log."""

    first_seen_ns: int
    topic: str
    partition: int
    offset: int
    dead_letter_id: str
    stage: str
    reason: str
    tenant_id: str
    message: str
    value_bytes: int
    #: Where it lies on the topic of dead letters (of its first copy).
    letter_partition: int
    letter_offset: int
    #: The letter whose replay this record was; empty for most.
    replay_of: str

    @classmethod
    def of(cls, entry: Entry) -> Row:
        letter = entry.letter
        return cls(
            first_seen_ns=letter.first_seen_ns,
            dead_letter_id=letter.dead_letter_id,
            stage=letter.stage,
            reason=letter.reason,
            tenant_id=letter.tenant_id,
            topic=letter.topic,
            partition=letter.partition,
            offset=letter.offset,
            message=letter.message,
            value_bytes=len(letter.value),
            letter_partition=entry.partition,
            letter_offset=entry.offset,
            replay_of=replay_of(letter),
        )


def replay_of(letter: DeadLetter) -> str:
    """The id of the letter whose replay the dead-lettered record was; empty when it was none."""
    found = next((header.value for header in letter.headers if header.name == h.REPLAY_OF), b"")
    return found.decode(errors="replace")


@dataclass(slots=True)
class Group:
    """Letters of one stage, reason and tenant."""

    letters: int = 0
    first_ns: int = 0
    last_ns: int = 0

    def add(self, at_ns: int) -> None:
        self.first_ns = min(self.first_ns, at_ns) if self.letters else at_ns
        self.last_ns = max(self.last_ns, at_ns)
        self.letters += 1


@dataclass(slots=True)
class Census:
    """What a reading found. `keep`: how many rows of the newest letters are kept; None: all."""

    keep: int | None = 0
    groups: dict[tuple[str, str, str], Group] = field(default_factory=dict)
    #: Copies by letter.
    copies: Counter[str] = field(default_factory=Counter)
    _rows: list[Row] = field(default_factory=list)

    @property
    def letters(self) -> int:
        return len(self.copies)

    @property
    def repeats(self) -> int:
        """Further copies of the same letters."""
        return self.copies.total() - len(self.copies)

    def add(self, entry: Entry) -> bool:
        """Count it; whether it is the letter's first copy."""
        letter = entry.letter
        self.copies[letter.dead_letter_id] += 1
        if self.copies[letter.dead_letter_id] > 1:
            return False
        key = (letter.stage, letter.reason, letter.tenant_id)
        self.groups.setdefault(key, Group()).add(letter.first_seen_ns)
        if self.keep is None:
            self._rows.append(Row.of(entry))
        elif self.keep:
            if len(self._rows) < self.keep:
                heapq.heappush(self._rows, Row.of(entry))
            else:
                heapq.heappushpop(self._rows, Row.of(entry))
        return True

    def newest(self) -> list[Row]:
        """The kept rows, newest first."""
        return sorted(self._rows, reverse=True)
