"""The readable copy of the enrichment, appended to the event's own bytes.

The enriched value is the raw value with one field appended: ``Event.extensions`` (99), an Any that holds a
google.protobuf.Struct with the key ``chaukas.gateway``. Appending to a repeated field is what protobuf's concatenation
means, so the client's bytes stay a prefix and are never serialized again; a client's own extension of that key stays where
it is, and only the last one, ours, counts.

The Struct is encoded by hand: keys sorted, every entry with key and value, as ``SerializeToString(deterministic=True)`` of
the Struct API does (a property test holds them equal), at about a tenth of its cost.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from functools import lru_cache

from contracts.v1 import enrichment_pb2
from processors.intake import NANOS
from processors.statuses import status_name

#: The Struct's key.
KEY = "chaukas.gateway"
_TYPE_URL = b"type.googleapis.com/google.protobuf.Struct"

_pack_double = struct.Struct("<d").pack


def encode(enrichment: enrichment_pb2.Enrichment) -> bytes:
    """The bytes to append to an event. Equal enrichments give equal bytes."""
    entries: list[bytes] = []
    add = entries.append
    has = enrichment.HasField
    if has("clock_skew_ms"):
        add(_number(b"clock_skew_ms", enrichment.clock_skew_ms))
    if has("conflicts_with"):
        add(_number(b"conflicts_with", enrichment.conflicts_with))
    add(_string(b"content_sha256", enrichment.content_sha256.hex()))
    if has("cost_usd"):
        add(_number(b"cost_usd", enrichment.cost_usd))
    if has("duration_ms"):
        add(_number(b"duration_ms", enrichment.duration_ms))
    add(_status(enrichment.effective_status))
    raw = enrichment.raw
    add(_nested(b"raw", _number(b"offset", raw.offset) + _place(raw.partition, raw.topic)))
    add(_string(b"received_at", rfc3339(enrichment.received_at_ns)))
    if has("recovered"):
        add(_nested(b"recovered", _recovered(enrichment.recovered)))
    if has("resend_of"):
        add(_number(b"resend_of", enrichment.resend_of))
    if enrichment.start_event_id:
        add(_string(b"start_event_id", enrichment.start_event_id))
    ours = _nested(KEY.encode(), b"".join(entries))
    return b"\x9a\x06" + _sized(_ANY_HEAD + b"\x12" + _sized(ours))  # field 99; Any.value is field 2


def rfc3339(time_ns: int) -> str:
    """RFC 3339 with nanoseconds and Z, of Unix nanoseconds from 1970 on."""
    seconds, nanos = divmod(time_ns, NANOS)
    return f"{_whole_seconds(seconds)}.{nanos:09d}Z"


@lru_cache(maxsize=1024)
def _whole_seconds(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


# ---------------------------------------------------------------- google.protobuf.Struct, by hand
# Struct.fields (1) is a map<string, Value>: each entry is {1: key, 2: Value}; a Value is {2: double}, {3: string} or
# {5: Struct}.


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _ONE_BYTE[number]
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


_ONE_BYTE = [bytes([number]) for number in range(0x80)]


def _sized(content: bytes) -> bytes:
    return _varint(len(content)) + content


_ANY_HEAD = b"\x0a" + _sized(_TYPE_URL)


def _entry(key: bytes, value: bytes) -> bytes:
    return b"\x0a" + _sized(_entry_head(key) + _sized(value))


@lru_cache(maxsize=256)
def _entry_head(key: bytes) -> bytes:
    return b"\x0a" + _sized(key) + b"\x12"


@lru_cache(maxsize=256)
def _number_head(key: bytes) -> bytes:
    """Everything of a number's entry before the eight bytes of the double: a constant."""
    head = _entry_head(key) + b"\x09\x11"
    return b"\x0a" + _varint(len(head) + 8) + head


def _number(key: bytes, value: float) -> bytes:
    return _number_head(key) + _pack_double(value)


def _string(key: bytes, value: str) -> bytes:
    return _entry(key, b"\x1a" + _sized(value.encode()))


def _nested(key: bytes, entries: bytes) -> bytes:
    return _entry(key, b"\x2a" + _sized(entries))


@lru_cache(maxsize=64)
def _status(number: int) -> bytes:
    return _string(b"effective_status", status_name(number))


@lru_cache(maxsize=1024)
def _place(partition: int, topic: str) -> bytes:
    return _number(b"partition", partition) + _string(b"topic", topic)


def _recovered(recovered: enrichment_pb2.Enrichment.Recovered) -> bytes:
    present = sorted((field.name, value) for field, value in recovered.ListFields())
    return b"".join(_string(name.encode(), value) for name, value in present)
