"""A report at the end of every run: seconds spent by group of tests, against its budget.

The budgets say how the 30 minutes of the whole run are shared; going over one is shown and fails nothing, because timing
never decides a test.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath

import pytest

#: Minutes.
BUDGETS = {"unit": 2.0, "integration": 10.0, "processors": 4.0, "conservation": 5.0, "security": 4.0, "rest": 5.0}


def group_of(nodeid: str) -> str:
    """The budget a test draws from, by where its file is."""
    path = PurePosixPath(nodeid.partition("::")[0])
    parts = path.parts
    folder = parts[1] if len(parts) > 2 else ""
    if folder == "integration" and path.name.startswith("test_processors"):
        return "processors"
    return folder if folder in BUDGETS else "rest"


class DurationReport:
    """A pytest plugin."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.tests: dict[str, int] = defaultdict(int)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        group = group_of(report.nodeid)
        self.seconds[group] += report.duration
        self.tests[group] += report.when == "call"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("time by group")
        for group, budget in BUDGETS.items():
            minutes = self.seconds[group] / 60
            over = "  OVER BUDGET" if minutes > budget else ""
            line = f"{group:<14}{self.tests[group]:>6} tests {minutes:>7.2f} of {budget:>4.0f} min{over}"
            terminalreporter.write_line(line)
