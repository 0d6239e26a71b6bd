"""Headers of Kafka records that anybody may have written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import methodcaller
from typing import Any

Headers = list[tuple[str, bytes | None]]

#: confluent-kafka (2.16) returns a broken list *and* sets an error for a header whose name is no UTF-8. A call written in Python may
#: not look for the error, which then comes up anywhere; one made by C code does, and raises SystemError. A second call gives the broken
#: list alone, and whoever reads it ends the process: so each message is asked once.
_UNREADABLE = (SystemError, UnicodeDecodeError)
_ask: Callable[[Any], Headers | None] = methodcaller("headers")


def headers_of(message: Any) -> Headers:
    """The headers of a confluent-kafka message; none when a name is no UTF-8: ours all are, so the record is foreign either way."""
    try:
        return _ask(message) or []
    except _UNREADABLE:
        return []


def headers_of_all(messages: Iterable[Any]) -> list[Headers]:
    """:func:`headers_of` each, for a fraction of a call."""
    found: list[Headers] = []
    asked = map(_ask, messages)
    while True:
        try:
            for headers in asked:
                found.append(headers or [])  # noqa: PERF401 - what came before an error stays
        except _UNREADABLE:
            found.append([])
        else:
            return found
