"""What a check found: how bad it is, and the remedy."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass


class Severity(enum.StrEnum):
    OK = "ok"
    #: Could not be looked at from here, which is no fault.
    SKIPPED = "skipped"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table. No text of it ever holds a secret."""

    check: str
    subject: str
    severity: Severity
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A question by name. `run` blocks for a bounded time, changes nothing and raises nothing it expects."""

    name: str
    run: Callable[[], Iterator[Finding]]

    def ok(self, subject: str, message: str) -> Finding:
        return Finding(self.name, subject, Severity.OK, message)


def exit_code(findings: list[Finding]) -> int:
    """0: nothing to do; 1: warnings; 2: errors."""
    worst = {finding.severity for finding in findings}
    return 2 if Severity.ERROR in worst else 1 if Severity.WARNING in worst else 0
