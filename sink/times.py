"""Times as the store keeps them: int64 nanoseconds, 1900 to 2262, and the partition they fall into. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

NANOS = 1_000_000_000
#: What DateTime64(9) holds: 1900-01-01 to 2262-04-11. One value outside would fail a whole insert.
MIN_NS = -2_208_988_800 * NANOS
MAX_NS = 9_223_372_036 * NANOS
#: Times further than this from their receipt share one partition, so that client clocks cannot make partitions.
OVERFLOW_NS = 31 * 86_400 * NANOS
OVERFLOW_BUCKET = 0


def clamp_ns(seconds: int, nanos: int) -> int:
    """Unix nanoseconds, clamped to what the store holds."""
    return min(max(seconds * NANOS + nanos, MIN_NS), MAX_NS)


def timestamp_ns(message: Any, field: str, default: int) -> int:
    """The Timestamp in `field` of `message`, clamped; `default` when it is absent."""
    if not message.HasField(field):
        return default
    stamp = getattr(message, field)
    return clamp_ns(stamp.seconds, stamp.nanos)


class Buckets:
    """Partition numbers: yyyymm of a time near its receipt, else :data:`OVERFLOW_BUCKET`. Remembers days, which repeat."""

    def __init__(self) -> None:
        self._months: dict[int, int] = {}

    def bucket(self, ts_ns: int, received_ns: int) -> int:
        if not -OVERFLOW_NS <= ts_ns - received_ns <= OVERFLOW_NS:
            return OVERFLOW_BUCKET
        day = ts_ns // (86_400 * NANOS)
        month = self._months.get(day)
        if month is None:
            if len(self._months) > 10_000:
                self._months.clear()
            date = datetime.fromtimestamp(day * 86_400, UTC)
            month = self._months[day] = date.year * 100 + date.month
        return month


def buckets(ts_ns: npt.NDArray[np.int64], received_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """:meth:`Buckets.bucket` of many at once."""
    # Neither sum can leave int64: times are clamped to MIN_NS..MAX_NS and receipt is not negative.
    late = np.minimum(received_ns, MAX_NS - OVERFLOW_NS) + OVERFLOW_NS
    near = (ts_ns >= received_ns - OVERFLOW_NS) & (ts_ns <= late)
    months = ts_ns.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    numbers = (1970 + months // 12) * 100 + months % 12 + 1
    return np.where(near, numbers, OVERFLOW_BUCKET).astype(np.uint32)


def rfc3339(time_ns: int) -> str:
    """RFC 3339 with nanoseconds and Z, of Unix nanoseconds."""
    seconds, nanos = divmod(time_ns, NANOS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"
