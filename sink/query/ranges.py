"""Time ranges of requests. Pure.

Start inclusive, end exclusive, either may be absent. The store keeps times outside 1900–2262 clamped to that span, so the
bounds are clamped such that a range which holds the time an event was sent with always finds it; times beyond the same
end of the span are not told apart. An end at or before the start is an empty range, not an error: it is what a half-open
interval means, and a dashboard that computes its bounds asks it at zero width.
"""

from __future__ import annotations

from dataclasses import dataclass

from chaukas.spec.common.v1.query_pb2 import TimeRange
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.errors import InvalidInput
from sink.times import MAX_NS, MIN_NS, NANOS

#: 0001-01-01 and 9999-12-31T23:59:59, Unix seconds: what google.protobuf.Timestamp allows.
_MIN_SECONDS = -62_135_596_800
_MAX_SECONDS = 253_402_300_799


@dataclass(frozen=True, slots=True)
class NsRange:
    """Unix nanoseconds within what the store holds; None: no bound."""

    start: int | None = None
    end: int | None = None


_EMPTY = NsRange(MAX_NS, MIN_NS + 1)


def ns_range(time: TimeRange, field: str) -> NsRange:
    """The bounds of `time`, the message at path `field`. Raises InvalidInput for an impossible Timestamp."""
    start = _nanoseconds(time.start, f"{field}.start") if time.HasField("start") else None
    end = _nanoseconds(time.end, f"{field}.end") if time.HasField("end") else None
    if start is not None and end is not None and end <= start:
        return _EMPTY
    return NsRange(
        None if start is None or start <= MIN_NS else min(start, MAX_NS),
        None if end is None or end > MAX_NS else max(end, MIN_NS + 1),
    )


def _nanoseconds(stamp: Timestamp, field: str) -> int:
    if not _MIN_SECONDS <= stamp.seconds <= _MAX_SECONDS:
        raise InvalidInput.of(field, "must be within the years 0001 to 9999")
    if not 0 <= stamp.nanos < NANOS:
        raise InvalidInput.of(field, "nanos must be within 0 to 999,999,999")
    return int(stamp.seconds) * NANOS + int(stamp.nanos)
