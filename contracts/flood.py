"""When dead letters are a flood: something is broken for everybody, and going on would drain a topic into the dead letters.

Counted per partition over the records as they lie in the log. A flood is

- :data:`RUN` bad records in a row, or
- more than :data:`SHARE_PERCENT` % of the last :data:`SHARE_RECORDS` records,

in which the letters are not all of one known tenant: a single tenant's bad records stop nobody else.
"""

from __future__ import annotations

from collections import deque

RUN = 100
SHARE_RECORDS = 1000
SHARE_PERCENT = 1


class Flood:
    """The bad records among the latest of one partition."""

    __slots__ = ("_bad", "_run", "_seen")

    def __init__(self) -> None:
        #: Records seen so far, good or bad.
        self._seen = 0
        #: (position, tenant, reason) of the bad ones among the last SHARE_RECORDS; tenant None when not known.
        self._bad: deque[tuple[int, str | None, str]] = deque()
        self._run = 0

    def good(self, records: int = 1) -> None:
        """Count records that were processed."""
        self._seen += records
        self._run = 0

    def bad(self, tenant: str | None, reason: str) -> None:
        """Count a record that became a dead letter; see :meth:`problem`."""
        self._seen += 1
        self._run += 1
        self._bad.append((self._seen, tenant or None, reason))

    def skip(self) -> None:
        """Count a bad record that an operator has accepted: neither good nor bad."""
        self._seen += 1

    def problem(self) -> str:
        """Call after a bad record: what the flood it completes consists of, for people; '' when it completes none."""
        while self._bad and self._bad[0][0] <= self._seen - SHARE_RECORDS:
            self._bad.popleft()
        if self._run >= RUN and self._across_tenants(RUN):
            return f"{self._run} records in a row"
        if (
            self._seen >= SHARE_RECORDS
            and len(self._bad) * 100 > SHARE_RECORDS * SHARE_PERCENT
            and self._across_tenants(len(self._bad))
        ):
            return f"{len(self._bad)} of the last {SHARE_RECORDS} records"
        return ""

    def reasons(self) -> list[str]:
        """The reasons of the latest letters, each once."""
        return sorted({reason for _, _, reason in self._bad})

    def _across_tenants(self, latest: int) -> bool:
        tenants = {tenant for _, tenant, _ in list(self._bad)[-latest:]}
        return len(tenants) > 1 or None in tenants
