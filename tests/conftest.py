"""What all tests share: the report of where the time went."""

from __future__ import annotations

from tests.support.durations import DurationReport


def pytest_configure(config: object) -> None:
    config.pluginmanager.register(DurationReport(), "duration-report")  # type: ignore[attr-defined]
