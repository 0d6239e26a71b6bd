"""Small values as text: durations, times, sizes, and untrusted strings made harmless."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

#: C0 and C1 controls (terminal escapes, line breaks), and characters that reorder or hide text.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_SPACES = re.compile(r"[ \t\r\n]+")


def clean(text: str) -> str:
    """`text` on one line without anything a terminal would obey; what is taken out shows as U+FFFD."""
    return _UNSAFE.sub("\ufffd", _SPACES.sub(" ", text)).strip()


def as_text(line: str) -> str:
    """`line` of a log with its spaces and tabs, but nothing a terminal would obey: that shows as U+FFFD."""
    return _UNSAFE.sub("\ufffd", line.expandtabs())


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters, the cut marked by an ellipsis."""
    return text if len(text) <= limit else f"{text[: max(0, limit - 1)]}…"


def duration(ms: float | None) -> str:
    """Milliseconds for a person: ``0.4 ms``, ``12 ms``, ``1.25 s``, ``3m 20s``, ``2h 05m``; empty for None."""
    if ms is None:
        return ""
    if ms < 0:
        return f"-{duration(-ms)}"
    if ms < 9.95:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if ms < 59_995:
        return f"{ms / 1000:.2f} s"
    seconds = round(ms / 1000)
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02}s"
    if seconds < 86_400:
        return f"{seconds // 3600}h {seconds % 3600 // 60:02}m"
    return f"{seconds // 86_400}d {seconds % 86_400 // 3600:02}h"


def moment(timestamp: Timestamp) -> str:
    """UTC to the millisecond, sortable; a value no calendar holds is shown as its seconds, an unset one as a dash."""
    if not timestamp.seconds and not timestamp.nanos:
        return "-"
    try:
        when = dt.datetime(1970, 1, 1) + dt.timedelta(  # noqa: DTZ001 - always UTC, and printed as such
            seconds=timestamp.seconds, milliseconds=timestamp.nanos // 1_000_000
        )
    except OverflowError:
        return f"{timestamp.seconds} s"
    return when.isoformat(sep=" ", timespec="milliseconds")


def moments(timestamps: Sequence[Timestamp]) -> tuple[str, list[str]]:
    """A column of times: its heading and its values; a day that all share goes into the heading."""
    texts = [moment(timestamp) for timestamp in timestamps]
    days = {text.partition(" ")[0] for text in texts if text[:1].isdecimal()}
    if len(days) != 1:
        return "time (UTC)", texts
    day = days.pop()
    return f"{day} UTC", [text.removeprefix(f"{day} ") for text in texts]


def nanoseconds(timestamp: Timestamp) -> int:
    """Unix nanoseconds; exact for any value."""
    return timestamp.seconds * 1_000_000_000 + timestamp.nanos


def count(number: int) -> str:
    return f"{number:,}"


def plural(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def percent(part: int, whole: int) -> str:
    """Share as text; empty when there is no whole."""
    if not whole:
        return ""
    share = 100 * part / whole
    return f"{share:.1f} %" if 0 < share < 10 or 99 < share < 100 else f"{share:.0f} %"


def dollars(usd: float) -> str:
    return f"${usd:.4f}" if abs(usd) < 0.1 else f"${usd:.2f}"
