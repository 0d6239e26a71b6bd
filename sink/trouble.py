"""Telling of what fails again and again: when it begins, when something else is wrong, when it is over."""

from __future__ import annotations

from runtime.logs import get_logger

log = get_logger(__name__)


class Trouble:
    """What is wrong with one kind of work that is repeated until it succeeds."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._problem = ""

    def tell(self, problem: str) -> None:
        """It failed, because of `problem`."""
        if problem != self._problem:
            log.warning("failed and will be repeated", work=self._what, error=problem)
        self._problem = problem

    def over(self) -> None:
        """It succeeded."""
        if self._problem:
            log.info("works again", work=self._what)
        self._problem = ""
