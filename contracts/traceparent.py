"""The W3C trace context of a caller, as text: what it must look like, and whether its trace is recorded."""

from __future__ import annotations

import re

_WELL_FORMED = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
#: How many of a batch's records came with which ``traceparent``; any text, of whoever wrote the header.
Seen = dict[bytes, int]

_SAMPLED = frozenset("13579bdf")


def well_formed_traceparent(value: str | None) -> str | None:
    """The trace context as it came, or None when it is absent or not well-formed."""
    return value if value is not None and _WELL_FORMED.fullmatch(value) else None


def is_sampled(traceparent: str) -> bool:
    """Whether who sent this well-formed one records the trace: the lowest bit of its flags."""
    return traceparent[-1] in _SAMPLED
