"""From values of the store to messages. Pure."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from sink.query.errors import QueryTooCostly
from sink.query.listing import MAX_ANSWER_BYTES
from sink.times import NANOS


def checked(answer: Message) -> bytes:
    """`answer` serialized. Raises QueryTooCostly when it is larger than an answer may be: it has no pages to cut."""
    data = answer.SerializeToString()
    if len(data) > MAX_ANSWER_BYTES:
        raise QueryTooCostly(
            f"the answer would have {len(data)} bytes, more than {MAX_ANSWER_BYTES}; narrow the time range"
        )
    return data


def set_time(message: Any, field: str, nanoseconds: int | None) -> None:
    """Set the Timestamp in `field` to Unix `nanoseconds`; None leaves it absent."""
    if nanoseconds is not None:
        stamp = getattr(message, field)
        stamp.seconds, stamp.nanos = divmod(nanoseconds, NANOS)


def set_position(message: Any, field: str, topic: str, partition: int | None, offset: int | None) -> None:
    """Set the SourcePosition in `field`; without an offset it stays absent."""
    if partition is not None and offset is not None:
        position = getattr(message, field)
        position.topic, position.partition, position.offset = topic, partition, offset


def set_if_known(message: Any, **values: Any) -> None:
    """Set the fields whose value is not None."""
    for field, value in values.items():
        if value is not None:
            setattr(message, field, value)
