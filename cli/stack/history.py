"""What supervisord's log tells about the past of each process: starts, exits, and whether it is in a crash loop.

supervisord itself knows only the present, and of a process that left soon after its start not even the exit status. `up` begins
a new log.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cli.stack.logs import tail

#: So many exits within CRASH_LOOP_SECONDS are a crash loop.
CRASH_LOOP_EXITS = 3
CRASH_LOOP_SECONDS = 600.0
#: A process that has been up for this long, and clearly longer than between its latest exits, is out of it.
STEADY_SECONDS = 60.0

_LINE = re.compile(
    r"^(\S+ \S+?),\d+ \w+ (?:spawned: '([^']+)' with pid|exited: (\S+) \((.*?); (?:not )?expected\))", re.MULTILINE
)
#: How far back a process's last words are looked for, lines; and how long they take, seconds.
_WORDS_LINES = 400
_WORDS_SECONDS = 30.0
_WORDS_CHARS = 1000
_BAD_LEVELS = ("critical", "error")
#: Faust's way of saying only that it has ended.
_EMPTY_WORDS = re.compile(r"We experienced a crash|Crashed reason=")
#: Faust names the service that speaks.
_SPEAKER = re.compile(r"^\[\^?-*\w+\]: ")


@dataclass(frozen=True, slots=True)
class Exit:
    """One end of a process that nobody asked for."""

    #: Unix seconds.
    at: float
    #: ``exit status 1`` or ``terminated by SIGKILL``.
    how: str


@dataclass(slots=True)
class History:
    """One process since `up`."""

    starts: int = 0
    exits: list[Exit] = field(default_factory=list)

    def recent(self, now: float) -> list[Exit]:
        return [one for one in self.exits if one.at > now - CRASH_LOOP_SECONDS]

    def crash_loop(self, *, waiting: bool, uptime_seconds: float, now: float) -> bool:
        """Whether it dies again and again. `waiting`: it does not run now, and waits for the next attempt (or for none)."""
        if waiting and len(self.exits) >= CRASH_LOOP_EXITS:
            return True
        recent = self.recent(now)
        if len(recent) < CRASH_LOOP_EXITS:
            return False
        gap = (recent[-1].at - recent[0].at) / (len(recent) - 1)
        return waiting or uptime_seconds < max(STEADY_SECONDS, 2 * gap)


def read_history(logs: Path) -> dict[str, History]:
    """By process name."""
    found: dict[str, History] = {}
    for moment, spawned, exited, how in _LINE.findall(_text(logs)):
        history = found.setdefault(spawned or exited, History())
        if spawned:
            history.starts += 1
        else:
            history.exits.append(Exit(_unix(moment), how))
    return found


def last_words(path: Path) -> str:
    """The first error of the last burst of errors in a process's log, on one line; else its last line. '' without a log."""
    try:
        lines = [line for line in tail(path, _WORDS_LINES) if line.strip()]
    except OSError:
        return ""
    words, latest = "", None
    for line in reversed(lines):
        at, text = _error(line)
        if at is None:
            continue
        latest = at if latest is None else latest
        if latest - at > _WORDS_SECONDS:
            break
        words = text or words
    return (words or (lines[-1].strip() if lines else ""))[:_WORDS_CHARS]


def _error(line: str) -> tuple[float | None, str]:
    """When and what, of a line that logs an error; (None, "") of any other."""
    try:
        entry = json.loads(line)
        if entry["level"] not in _BAD_LEVELS:
            return None, ""
        at, text = datetime.fromisoformat(entry["timestamp"]).timestamp(), str(entry["event"])
    except (ValueError, KeyError, TypeError):
        return None, ""
    if _EMPTY_WORDS.search(text):
        return at, ""
    more = [str(entry[name]) for name in ("problem", "error") if entry.get(name)]
    return at, ": ".join([_SPEAKER.sub("", text), *more])


def _text(logs: Path) -> str:
    paths = [logs / name for name in ("supervisord.log.1", "supervisord.log")]
    return "".join(path.read_text(encoding="utf-8", errors="replace") for path in paths if path.exists())


def _unix(text: str) -> float:
    """supervisord writes local time without a zone."""
    return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S"))
