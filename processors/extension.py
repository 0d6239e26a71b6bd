"""The readable copy of the enrichment, appended to the event's own bytes.

The enriched value is the raw value with one field appended: ``Event.extensions`` (99), an Any that holds a
google.protobuf.Struct with the key ``chaukas.gateway``. Appending to a repeated field is what protobuf's concatenation
means, so the client's bytes stay a prefix and are never serialized again; a client's own extension of that key stays where
it is, and only the last one, ours, counts.

The Struct is encoded by hand: keys sorted, every entry with key and value, as ``SerializeToString(deterministic=True)`` of
the Struct API does (a property test holds them equal), at a tenth of its cost.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache

from processors.enrichment import Enrichment, Recovered
from processors.intake import NANOS
from processors.statuses import status_name
from processors.wire import double, sized, varint

#: The Struct's key.
KEY = "chaukas.gateway"
_TYPE_URL = b"type.googleapis.com/google.protobuf.Struct"


def encode(enrichment: Enrichment) -> bytes:
    """The bytes to append to an event. Equal enrichments give equal bytes."""
    raw_head, raw_tail = raw(enrichment.topic, enrichment.partition)
    ours = b"".join(  # sorted by key
        (
            b"" if enrichment.clock_skew_ms is None else SKEW + double(enrichment.clock_skew_ms),
            b"" if enrichment.conflicts_with is None else _number(b"conflicts_with", enrichment.conflicts_with),
            SHA256,
            hexlify(enrichment.content_sha256),
            b"" if enrichment.cost_usd is None else COST + double(enrichment.cost_usd),
            b"" if enrichment.duration_ms is None else DURATION + double(enrichment.duration_ms),
            status(enrichment.effective_status),
            raw_head,
            double(enrichment.offset),
            raw_tail,
            RECEIVED,
            rfc3339(enrichment.received_at_ns).encode(),
            b"" if enrichment.recovered is None else _nested(b"recovered", _recovered(enrichment.recovered)),
            _strings(b"redacted", enrichment.redacted) if enrichment.redacted else b"",
            _string(b"redaction_version", enrichment.redaction_version) if enrichment.redaction_version else b"",
            b"" if enrichment.resend_of is None else _number(b"resend_of", enrichment.resend_of),
            _string(b"start_event_id", enrichment.start_event_id) if enrichment.start_event_id else b"",
        )
    )
    return envelope(len(ours)) + ours


def rfc3339(time_ns: int) -> str:
    """RFC 3339 with nanoseconds and Z, of Unix nanoseconds from 1970 on: always 30 characters."""
    seconds, nanos = divmod(time_ns, NANOS)
    return f"{whole_seconds(seconds)}.{nanos:09d}Z"


def whole_seconds(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


# ---------------------------------------------------------------- google.protobuf.Struct, by hand
# Struct.fields (1) is a map<string, Value>: each entry is {1: key, 2: Value}; a Value is {2: double}, {3: string} or
# {5: Struct} or {6: ListValue of Values}. A "head" is everything of an entry before its value's content of the given length.


def _head(key: bytes, kind: bytes, length: int) -> bytes:
    value = kind + (b"" if kind == _DOUBLE else varint(length))
    entry = b"\x0a" + sized(key) + b"\x12" + varint(len(value) + length) + value
    return b"\x0a" + varint(len(entry) + length) + entry


_DOUBLE, _STRING, _STRUCT, _LIST = b"\x11", b"\x1a", b"\x2a", b"\x32"

SKEW = _head(b"clock_skew_ms", _DOUBLE, 8)
DURATION = _head(b"duration_ms", _DOUBLE, 8)
COST = _head(b"cost_usd", _DOUBLE, 8)
SHA256 = _head(b"content_sha256", _STRING, 64)
RECEIVED = _head(b"received_at", _STRING, 30)


def _number(key: bytes, value: float) -> bytes:
    return _head(key, _DOUBLE, 8) + double(value)


def _string(key: bytes, value: str) -> bytes:
    content = value.encode()
    return string_head(key, len(content)) + content


@lru_cache(maxsize=1024)
def string_head(key: bytes, length: int) -> bytes:
    return _head(key, _STRING, length)


def _strings(key: bytes, values: Iterable[str]) -> bytes:
    content = b"".join(b"\x0a" + sized(_STRING + sized(value.encode())) for value in values)
    return _head(key, _LIST, len(content)) + content


def _nested(key: bytes, entries: bytes) -> bytes:
    return _head(key, _STRUCT, len(entries)) + entries


@lru_cache(maxsize=64)
def status(number: int) -> bytes:
    return _string(b"effective_status", status_name(number))


@lru_cache(maxsize=1024)
def raw(topic: str, partition: int) -> tuple[bytes, bytes]:
    """`raw` around the offset's eight bytes: its keys are sorted, so the offset comes first."""
    offset_head = _head(b"offset", _DOUBLE, 8)
    tail = _number(b"partition", partition) + _string(b"topic", topic)
    return _head(b"raw", _STRUCT, len(offset_head) + 8 + len(tail)) + offset_head, tail


def _recovered(recovered: Recovered) -> bytes:
    present = sorted((field.name, value) for field, value in recovered.ListFields())
    return b"".join(_string(name.encode(), value) for name, value in present)


@lru_cache(maxsize=4096)
def envelope(length: int) -> bytes:
    """Everything before our entries: field 99, the Any, its type, and the Struct's one key."""
    ours = _head(KEY.encode(), _STRUCT, length)
    content = b"\x0a" + sized(_TYPE_URL) + b"\x12" + varint(len(ours) + length) + ours  # Any.type_url, Any.value
    return b"\x9a\x06" + varint(len(content) + length) + content
