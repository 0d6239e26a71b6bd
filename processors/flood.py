"""Stops a worker before a bad deploy drains a topic into the dead letters (:mod:`contracts.flood` says what a flood is).

A restart counts the same records again and stops at the same record until its cause is gone or an operator accepts the
letters.
"""

from __future__ import annotations

from contracts import flood
from contracts import headers as h
from processors.intake import BadRecord, RawRecord


class FloodOfDeadLetters(Exception):
    """Too many records of a partition cannot be processed; the message says how many, why, and what to do."""


class Flood:
    """The bad records among the latest of one partition."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = flood.Flood()

    def good(self) -> None:
        self._counts.good()

    def bad(self, bad: BadRecord, record: RawRecord) -> None:
        """Count a bad record; never raises, see :meth:`check`."""
        tenant = next((value for name, value in record.headers if name == h.TENANT_ID and value), None)
        self._counts.bad(None if tenant is None else tenant.decode(errors="replace"), bad.reason.value)

    def alarm(self) -> str:
        """Call after a bad record that :meth:`check` let pass; see :meth:`contracts.flood.Flood.alarm`."""
        return self._counts.alarm()

    def skip(self) -> None:
        """Count a bad record that an operator has accepted: neither good nor bad."""
        self._counts.skip()

    def check(self, record: RawRecord) -> None:
        """Call after a bad record. Raises :class:`FloodOfDeadLetters` when it completes a flood."""
        what = self._counts.problem()
        if what:
            raise FloodOfDeadLetters(
                f"{what} of {record.topic}-{record.partition} up to offset {record.offset} cannot be processed "
                f"({', '.join(self._counts.reasons())}). Nothing of this batch is committed. Look at them with "
                "`chaukas-gateway dlq list --stage processors`. Remove the cause, or accept these records as dead letters: "
                "`chaukas-gateway dlq accept --stage processors --until now` "
                "(or PROCESSORS_DEAD_LETTERS_ACCEPTED_UNTIL=<RFC 3339 time after the last of them>)."
            )
