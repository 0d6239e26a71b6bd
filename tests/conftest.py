"""What all tests share: the report of where the time went."""

from __future__ import annotations

from hypothesis import settings

from tests.support.durations import DurationReport

# Timing never decides a test: a busy machine is no counterexample.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_configure(config: object) -> None:
    config.pluginmanager.register(DurationReport(), "duration-report")  # type: ignore[attr-defined]
