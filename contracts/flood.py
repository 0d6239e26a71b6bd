"""When dead letters are a flood: something is broken for everybody, and going on would drain a topic into the dead letters.

Counted per partition over the records as they lie in the log. A flood is

- :data:`RUN` bad records in a row, or
- more than :data:`SHARE_PERCENT` % of the last :data:`SHARE_RECORDS` records,

in which the letters are not all of one known tenant: a single tenant's bad records stop nobody else, they alarm
(:meth:`Flood.alarm`).

What was counted can be written down (:meth:`Flood.note`) and taken up again (:meth:`Flood.of_note`), so that a process that
is started again goes on counting where its predecessor stopped.
"""

from __future__ import annotations

import json
from collections import deque
from hashlib import blake2b

RUN = 100
SHARE_RECORDS = 1000
SHARE_PERCENT = 1
#: Longest note, characters; the oldest bad records are left out of a longer one.
NOTE_CHARS = 2000


class Flood:
    """The bad records among the latest of one partition."""

    __slots__ = ("_alarmed", "_bad", "_run", "_seen")

    def __init__(self) -> None:
        #: Records seen so far, good or bad.
        self._seen = 0
        #: (position, mark of the tenant, reason) of the bad ones among the last SHARE_RECORDS; None when it is not known.
        self._bad: deque[tuple[int, str | None, str]] = deque()
        self._run = 0
        self._alarmed = False

    def good(self, records: int = 1) -> None:
        """Count records that were processed."""
        self._seen += records
        self._run = 0

    def bad(self, tenant: str | None, reason: str) -> None:
        """Count a record that became a dead letter; see :meth:`problem`."""
        self._seen += 1
        self._run += 1
        self._bad.append((self._seen, _mark(tenant) if tenant else None, reason))

    def skip(self) -> None:
        """Count a bad record that an operator has accepted: neither good nor bad."""
        self._seen += 1

    def problem(self) -> str:
        """Call after a bad record: what the flood it completes consists of, for people; '' when it completes none."""
        self._forget()
        if self._long_run and self._across_tenants(RUN):
            return f"{self._run} records in a row"
        if self._large_share and self._across_tenants(len(self._bad)):
            return f"{len(self._bad)} of the last {SHARE_RECORDS} records"
        return ""

    def alarm(self) -> str:
        """Call after a bad record that completed no flood: what would be one if it were not all one tenant's, for people; told
        once, until it is over. '' when there is nothing to tell."""
        if not (self._long_run or self._large_share):
            self._alarmed = False
        elif not self._alarmed:
            self._alarmed = True
            return (
                f"{self._run} records in a row"
                if self._long_run
                else f"{len(self._bad)} of the last {SHARE_RECORDS} records"
            )
        return ""

    @property
    def _long_run(self) -> bool:
        return self._run >= RUN

    @property
    def _large_share(self) -> bool:
        return self._seen >= SHARE_RECORDS and len(self._bad) * 100 > SHARE_RECORDS * SHARE_PERCENT

    def reasons(self) -> list[str]:
        """The reasons of the latest letters, each once."""
        return sorted({reason for _, _, reason in self._bad})

    def copy(self) -> Flood:
        """One that counts on from here by itself."""
        other = Flood()
        other._seen, other._run, other._bad = self._seen, self._run, self._bad.copy()
        other._alarmed = self._alarmed
        return other

    def note(self) -> str:
        """What was counted, for :meth:`of_note`: short ASCII, at most NOTE_CHARS, naming no tenant."""
        self._forget()
        names: list[str | None] = []
        # [records ago, how many one after the other, tenant, reason], the latest first
        runs: list[list[int]] = []
        for position, tenant, reason in reversed(self._bad):
            indexes = []
            for name in (tenant, reason):
                if name not in names:
                    names.append(name)
                indexes.append(names.index(name))
            if runs and runs[-1][2:] == indexes and runs[-1][0] + runs[-1][1] == self._seen - position:
                runs[-1][1] += 1
            else:
                runs.append([self._seen - position, 1, *indexes])
        while True:
            document = [1, min(self._seen, SHARE_RECORDS), min(self._run, RUN), names, runs]
            text = json.dumps(document, separators=(",", ":"))
            if len(text) <= NOTE_CHARS:
                return text
            if not runs:
                return ""
            runs = runs[: len(runs) * 3 // 4]
            used = {index for run in runs for index in run[2:]}
            names = [name if index in used else None for index, name in enumerate(names)]
            while names and len(names) - 1 not in used:
                names.pop()

    @classmethod
    def of_note(cls, note: str | None) -> Flood:
        """Count on from `note`; from nothing when there is none, or none of ours."""
        flood = cls()
        try:
            version, seen, run, names, runs = json.loads(note or "")
            bad = [
                (int(seen) - ago - number, names[tenant], str(names[reason]))
                for ago, count, tenant, reason in runs
                for number in range(min(int(count), SHARE_RECORDS))
            ]
            if version == 1:
                flood._seen, flood._run, flood._bad = int(seen), int(run), deque(sorted(bad, key=lambda one: one[0]))
        except (ValueError, TypeError, IndexError):
            return cls()
        return flood

    def _forget(self) -> None:
        while self._bad and self._bad[0][0] <= self._seen - SHARE_RECORDS:
            self._bad.popleft()

    def _across_tenants(self, latest: int) -> bool:
        tenants = {tenant for _, tenant, _ in list(self._bad)[-latest:]}
        return len(tenants) > 1 or None in tenants


def _mark(tenant: str) -> str:
    """Tells tenants apart; short, and what is written down names nobody."""
    return blake2b(tenant.encode(errors="replace"), digest_size=5).hexdigest()
