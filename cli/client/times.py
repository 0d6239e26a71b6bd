"""Times as people type them: RFC 3339, or relative to now."""

from __future__ import annotations

import re

from google.protobuf.timestamp_pb2 import Timestamp

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_RELATIVE = re.compile(r"(?:\d+[smhdw])+", re.ASCII)
_PART = re.compile(r"(\d+)([smhdw])", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_ZONELESS = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(:\d\d(?:\.\d{1,9})?)?", re.ASCII)
_ZONED = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(:\d\d(?:\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)

#: First and last second a protobuf timestamp can hold (years 0001 and 9999).
_MIN_SECONDS = -62_135_596_800
_MAX_SECONDS = 253_402_300_799

ALLOWED = "RFC 3339 (2026-01-31T12:00:00Z; a date or a time without a zone is UTC), `now`, or an age such as 90s, 15m, 2h, 7d, 1h30m"


def parse_age(text: str) -> int:
    """Seconds of an age such as ``15m``, ``7d`` or ``1h30m``. Raises ``ValueError``."""
    if not _RELATIVE.fullmatch(text):
        raise ValueError(f"{text!r} is not an age such as 15m, 2h or 7d")
    return sum(int(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text))


def parse_time(text: str, now_ns: int) -> Timestamp:
    """The moment `text` means; `now_ns` (Unix nanoseconds) is what ages count back from.

    Raises ``ValueError`` with what is allowed.
    """
    text = text.strip()
    if text.lower() == "now":
        return _from_ns(now_ns, text)
    if _RELATIVE.fullmatch(text.lower()):
        return _from_ns(now_ns - parse_age(text.lower()) * 1_000_000_000, text)
    if _DATE.fullmatch(text):
        canonical = f"{text}T00:00:00Z"
    elif match := _ZONED.fullmatch(text):
        date, minute, second, zone = match.groups()
        canonical = f"{date}T{minute}{second or ':00'}{zone.upper()}"
    elif match := _ZONELESS.fullmatch(text):
        date, minute, second = match.groups()
        canonical = f"{date}T{minute}{second or ':00'}Z"
    else:
        raise ValueError(f"{text!r} is not a time. Allowed: {ALLOWED}")
    moment = Timestamp()
    try:
        moment.FromJsonString(canonical)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a time: {error}") from None
    return moment


def _from_ns(ns: int, text: str) -> Timestamp:
    seconds, nanos = divmod(ns, 1_000_000_000)
    if not _MIN_SECONDS <= seconds <= _MAX_SECONDS:
        raise ValueError(f"{text!r} is before the year 1")
    return Timestamp(seconds=seconds, nanos=nanos)
