"""What the server knows about one event, and its typed form for the header `enrichment`.

A plain object instead of the protobuf message, and encoded by hand: both are made for every event, and this costs a quarter.
A property test holds :meth:`Enrichment.serialize` equal to ``chaukas.gateway.v1.Enrichment`` serialized deterministically.
"""

from __future__ import annotations

from functools import lru_cache

from contracts.v1 import enrichment_pb2, facts_pb2
from processors.wire import double, int64, sized, varint

Recovered = enrichment_pb2.Enrichment.Recovered


class Enrichment:
    """The fields of ``chaukas.gateway.v1.Enrichment`` (see there); None where the message has no value."""

    __slots__ = (
        "canonical_sha256",
        "clock_skew_ms",
        "conflicts_with",
        "content_sha256",
        "cost_usd",
        "duration_ms",
        "effective_status",
        "offset",
        "partition",
        "price_table",
        "received_at_ns",
        "recovered",
        "redacted",
        "redaction_version",
        "resend_of",
        "start_event_id",
        "topic",
    )

    def __init__(
        self,
        *,
        received_at_ns: int,
        effective_status: int,
        topic: str,
        partition: int,
        offset: int,
        content_sha256: bytes,
        canonical_sha256: bytes,
        clock_skew_ms: float | None = None,
    ) -> None:
        self.received_at_ns = received_at_ns
        self.effective_status = effective_status
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.content_sha256 = content_sha256
        self.canonical_sha256 = canonical_sha256
        self.clock_skew_ms = clock_skew_ms
        self.start_event_id = self.price_table = self.redaction_version = ""
        self.redacted: tuple[str, ...] = ()
        self.duration_ms: float | None
        self.recovered: Recovered | None
        self.resend_of: int | None
        self.conflicts_with: int | None
        self.cost_usd: float | None
        self.duration_ms = self.recovered = self.resend_of = self.conflicts_with = self.cost_usd = None

    def serialize(self) -> bytes:
        """``chaukas.gateway.v1.Enrichment`` on the wire, fields in order of their numbers."""
        offset = varint(self.offset) if self.offset else b""
        return b"".join(
            (
                b"\x08" + varint(self.received_at_ns) if self.received_at_ns else b"",
                b"" if self.clock_skew_ms is None else b"\x11" + double(self.clock_skew_ms),
                status(self.effective_status),
                b"" if self.duration_ms is None else b"\x21" + double(self.duration_ms),
                b"\x2a" + sized(self.start_event_id.encode()) if self.start_event_id else b"",
                b""
                if self.recovered is None
                else b"\x32" + sized(self.recovered.SerializeToString(deterministic=True)),
                b"" if self.resend_of is None else b"\x38" + varint(self.resend_of),
                b"" if self.conflicts_with is None else b"\x40" + varint(self.conflicts_with),
                place(self.topic, self.partition, len(offset)),
                offset,
                b"\x52\x20",  # 32 bytes each
                self.content_sha256,
                b"\x5a\x20",
                self.canonical_sha256,
                b"" if self.cost_usd is None else b"\x61" + double(self.cost_usd),
                b"\x6a" + sized(self.price_table.encode()) if self.price_table else b"",
                *(b"\x72" + sized(path.encode()) for path in self.redacted),
                b"\x7a" + sized(self.redaction_version.encode()) if self.redaction_version else b"",
            )
        )


@lru_cache(maxsize=64)
def status(number: int) -> bytes:
    return b"\x18" + int64(number) if number else b""


@lru_cache(maxsize=4096)
def place(topic: str, partition: int, offset_length: int) -> bytes:
    """The field `raw` up to its offset's varint of the given length (0: no offset, because it is 0)."""
    place = facts_pb2.SourcePosition(topic=topic, partition=partition).SerializeToString()
    if offset_length:
        place += b"\x18"
    return b"\x4a" + varint(len(place) + offset_length) + place
