"""Which dead letters a command is about. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.v1.dead_letter_pb2 import DeadLetter


@dataclass(frozen=True, slots=True)
class Filter:
    """Every given part must match; times are of the dead-lettered record, Unix nanoseconds, end exclusive."""

    stage: str | None = None
    reasons: frozenset[str] = frozenset()
    tenant: str | None = None
    topic: str | None = None
    partition: int | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    #: Ids, or how they begin.
    ids: tuple[str, ...] = ()

    def matches(self, letter: DeadLetter) -> bool:
        return (
            (self.stage is None or letter.stage == self.stage)
            and (not self.reasons or letter.reason in self.reasons)
            and (self.tenant is None or letter.tenant_id == self.tenant)
            and (self.topic is None or letter.topic == self.topic)
            and (self.partition is None or letter.partition == self.partition)
            and (self.since_ns is None or letter.first_seen_ns >= self.since_ns)
            and (self.until_ns is None or letter.first_seen_ns < self.until_ns)
            and (not self.ids or letter.dead_letter_id.startswith(self.ids))
        )
