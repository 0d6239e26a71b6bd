"""Stops a worker before a bad deploy drains a topic into the dead letters.

Counted per partition, over the records as they lie in the log, so that a restart counts the same again and stops at the same
record until its cause is gone or an operator accepts the letters. A flood is

- :data:`RUN` bad records in a row, or
- more than :data:`SHARE_PERCENT` % of the last :data:`SHARE_RECORDS` records,

in which the letters are not all of one known tenant: a single tenant's bad records stop nobody else.
"""

from __future__ import annotations

from collections import deque

from contracts import headers as h
from processors.intake import BadRecord, RawRecord

RUN = 100
SHARE_RECORDS = 1000
SHARE_PERCENT = 1


class FloodOfDeadLetters(Exception):
    """Too many records of a partition cannot be processed; the message says how many, why, and what to do."""


class Flood:
    """The bad records among the latest of one partition."""

    __slots__ = ("_bad", "_run", "_seen")

    def __init__(self) -> None:
        #: Records seen so far, good or bad.
        self._seen = 0
        #: (position, tenant, reason) of the bad ones among the last SHARE_RECORDS; tenant None when not known.
        self._bad: deque[tuple[int, str | None, str]] = deque()
        self._run = 0

    def good(self) -> None:
        self._seen += 1
        self._run = 0

    def bad(self, bad: BadRecord, record: RawRecord) -> None:
        """Count a bad record; never raises, see :meth:`check`."""
        tenant = next((value for name, value in record.headers if name == h.TENANT_ID and value), None)
        self._seen += 1
        self._run += 1
        self._bad.append((self._seen, None if tenant is None else tenant.decode(errors="replace"), bad.reason.value))

    def skip(self) -> None:
        """Count a bad record that an operator has accepted: neither good nor bad."""
        self._seen += 1

    def check(self, record: RawRecord) -> None:
        """Call after a bad record. Raises :class:`FloodOfDeadLetters` when it completes a flood."""
        while self._bad and self._bad[0][0] <= self._seen - SHARE_RECORDS:
            self._bad.popleft()
        if self._run >= RUN and self._across_tenants(RUN):
            raise FloodOfDeadLetters(self._describe(f"{self._run} records in a row", record))
        if (
            self._seen >= SHARE_RECORDS
            and len(self._bad) * 100 > SHARE_RECORDS * SHARE_PERCENT
            and self._across_tenants(len(self._bad))
        ):
            raise FloodOfDeadLetters(self._describe(f"{len(self._bad)} of the last {SHARE_RECORDS} records", record))

    def _across_tenants(self, latest: int) -> bool:
        tenants = {tenant for _, tenant, _ in list(self._bad)[-latest:]}
        return len(tenants) > 1 or None in tenants

    def _describe(self, what: str, record: RawRecord) -> str:
        reasons = sorted({reason for _, _, reason in self._bad})
        return (
            f"{what} of {record.topic}-{record.partition} up to offset {record.offset} cannot be processed "
            f"({', '.join(reasons)}). Nothing of this run is committed. Remove the cause, or accept these records as dead "
            "letters with PROCESSORS_DEAD_LETTERS_ACCEPTED_UNTIL=<RFC 3339 time after the last of them>."
        )
