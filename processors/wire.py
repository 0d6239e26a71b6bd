"""The few pieces of protobuf's wire format that are written by hand, because they are written for every event."""

from __future__ import annotations

import struct
from functools import lru_cache

#: All of 0 to 2^14 - 1.
_SHORT = tuple(bytes([n]) if n < 0x80 else bytes([n & 0x7F | 0x80, n >> 7]) for n in range(0x4000))
#: 14 bits with more to come.
_TWO_MORE = tuple(bytes([n & 0x7F | 0x80, n >> 7 | 0x80]) for n in range(0x4000))

#: A double's eight bytes.
double = struct.Struct("<d").pack


def varint(number: int) -> bytes:
    """`number` (0 to 2^64 - 1) as a varint."""
    if number < 0x4000:
        return _SHORT[number]
    if number < 1 << 28:
        return _TWO_MORE[number & 0x3FFF] + _SHORT[number >> 14]
    # A time: its low bits by table, its high bits are those of the event before.
    return _TWO_MORE[number & 0x3FFF] + _TWO_MORE[number >> 14 & 0x3FFF] + _high_bits(number >> 28)


@lru_cache(maxsize=1024)
def _high_bits(number: int) -> bytes:
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def int64(number: int) -> bytes:
    """An int32, int64 or enum as protobuf writes it: a negative one takes ten bytes."""
    return varint(number & 0xFFFFFFFFFFFFFFFF)


def sized(content: bytes) -> bytes:
    """`content` with its length before it."""
    return varint(len(content)) + content
