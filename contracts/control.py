"""What an operator tells running processes, as records of the control topic: the latest record of a key is what holds.

============================================  ==============================================================
``dead_letters_accepted_until/<stage>``       RFC 3339: dead letters of records with an earlier Kafka time are
                                              accepted and are no flood
============================================  ==============================================================
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from contracts.dead_letters import Stage

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def accepted_until_key(stage: Stage) -> bytes:
    """The record's key."""
    return f"dead_letters_accepted_until/{stage.value}".encode()


def format_time(unix_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds. Raises OverflowError beyond the year 9999."""
    return (_EPOCH + timedelta(milliseconds=unix_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: bytes | None) -> int:
    """Unix milliseconds. Raises ValueError for anything but RFC 3339 with a zone."""
    moment = datetime.fromisoformat((text or b"").decode())
    if moment.tzinfo is None:
        raise ValueError("no zone")
    return (moment - _EPOCH) // timedelta(milliseconds=1)
