"""Health = this process can serve. Ready = its dependencies answer."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Readiness:
    """Named conditions; the process is ready when all hold. Used from one thread (the event loop's) or guarded by the GIL."""

    conditions: dict[str, str] = field(default_factory=dict)

    def set(self, name: str, problem: str = "") -> None:
        """`problem` empty: the condition holds; else what is missing, for a person."""
        self.conditions[name] = problem

    @property
    def ready(self) -> bool:
        return not any(self.conditions.values())

    def describe(self) -> dict[str, str]:
        return {name: problem or "ok" for name, problem in self.conditions.items()}
