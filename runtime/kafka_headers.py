"""Headers of Kafka records that anybody may have written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Headers = list[tuple[str, bytes | None]]

#: What confluent-kafka (2.16) raises for a header whose name is no UTF-8. Its list is broken then: a second ``headers()`` of the same
#: message gives it without an error, and whoever reads it ends the process. So each message is asked once.
_UNREADABLE = (SystemError, UnicodeDecodeError)


def headers_of(message: Any) -> Headers:
    """The headers of a confluent-kafka message; none when a name is no UTF-8: ours all are, so the record is foreign either way."""
    try:
        return message.headers() or []
    except _UNREADABLE:
        return []


def headers_of_all(messages: Iterable[Any]) -> list[Headers]:
    """:func:`headers_of` each, for a fraction of a call."""
    found: list[Headers] = []
    asked = (message.headers for message in messages)
    while True:
        try:
            for ask in asked:
                found.append(ask() or [])  # noqa: PERF401 - what came before an error stays
        except _UNREADABLE:
            found.append([])
        else:
            return found
