"""What became of every request: counted by door and answer; a defect is kept with what leads to it again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

#: Answers that no input may lead to, whatever the door calls them.
NEVER = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS", "500", "502", "step_failed", "CRASH"})
#: Most defects that are kept; one is enough to fail.
_MOST = 50


@dataclass
class Outcomes:
    """Shared by all loads of one run; used from one thread at a time."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)

    def add(self, door: str, answer: str, sent: bytes | str = b"") -> None:
        """One request and its answer; `sent` is shown when the answer must never be."""
        self.counts[door, answer] += 1
        if answer in NEVER:
            self.defect(f"{door} answered {answer} to {sent[:2000]!r}")

    def defect(self, text: str) -> None:
        """Something that fails the run."""
        if len(self.defects) < _MOST:
            self.defects.append(text)

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def table(self) -> str:
        """One line per door: how many requests, and the answers, most frequent first."""
        lines = []
        for door in sorted({door for door, _ in self.counts}):
            answers = Counter({answer: n for (at, answer), n in self.counts.items() if at == door})
            shown = ", ".join(f"{answer} {n:,}" for answer, n in answers.most_common())
            lines.append(f"{door:<22}{answers.total():>11,}  {shown}")
        lines.append(f"{'all':<22}{self.total:>11,}")
        return "\n".join(lines)
