"""The rows that settling writes for a copy that lost. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from sink.event_rows import SHA256, TIME
from sink.settlement import CORRECTION, Loss

#: Beats every revision of a hand-off (its version is twice its revision).
HANDOFF_TOMBSTONE_VERSION = 2 * 255 + CORRECTION
#: A hash that is not known: the copy's own bytes were merged away with an equal one's.
_NO_HASH = bytes(32)

#: Tombstones in `events`; the engine computes their version from position and `removed`.
TOMBSTONES = pa.schema(
    [
        ("tenant_id", pa.string()),
        ("project_id", pa.string()),
        ("bucket", pa.uint32()),
        ("ts", TIME),
        ("event_id", pa.string()),
        ("canonical_sha256", SHA256),
        ("received_at", TIME),
        ("raw_partition", pa.uint32()),
        ("raw_offset", pa.uint64()),
        ("removed", pa.uint8()),
    ]
)


@dataclass(slots=True)
class Stored:
    """What `events` holds under one key, without payloads."""

    event_id: str
    session_id: str
    type: int
    canonical_sha256: bytes
    #: By raw position: copies of one key have the same content, but maybe other bytes.
    content_sha256: dict[tuple[int, int], bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lost:
    """A copy that lost, with what the store held of it and of the copy that stays."""

    loss: Loss
    stored: Stored
    winner: Stored

    @property
    def same_place(self) -> bool:
        """Loser and winner have the same session and time."""
        loser, winner = self.loss.loser, self.loss.winner
        return (loser.project_id, loser.ts_ns, self.stored.session_id) == (
            winner.project_id,
            winner.ts_ns,
            self.winner.session_id,
        )

    def _content_sha256(self) -> bytes:
        loser = self.loss.loser
        return self.stored.content_sha256.get((loser.raw_partition, loser.raw_offset), _NO_HASH)

    def resend_row(self) -> dict[str, Any]:
        """For `resends`."""
        loser, winner = self.loss.loser, self.loss.winner
        return {
            "raw_partition": loser.raw_partition,
            "raw_offset": loser.raw_offset,
            "tenant_id": loser.tenant_id,
            "project_id": loser.project_id,
            "event_id": self.stored.event_id,
            "first_partition": winner.raw_partition,
            "first_offset": winner.raw_offset,
            "content_sha256": self._content_sha256(),
            "received_at": loser.received_ns,
            "marked_by": "settle",
        }

    def conflict_row(self, raw: bytes) -> dict[str, Any]:
        """For `conflicts`; `raw` is the losing copy's payload."""
        loser, winner = self.loss.loser, self.loss.winner
        return {
            "tenant_id": loser.tenant_id,
            "project_id": loser.project_id,
            "event_id": self.stored.event_id,
            "raw_partition": loser.raw_partition,
            "raw_offset": loser.raw_offset,
            "session_id": self.stored.session_id,
            "ts": loser.ts_ns,
            "received_at": loser.received_ns,
            "content_sha256": self._content_sha256(),
            "canonical_sha256": self.stored.canonical_sha256,
            "first_partition": winner.raw_partition,
            "first_offset": winner.raw_offset,
            "first_content_sha256": self.winner.content_sha256.get((winner.raw_partition, winner.raw_offset), _NO_HASH),
            "raw": raw,
            "marked_by": "settle",
        }

    def tombstone_row(self) -> dict[str, Any]:
        """For `events`."""
        loser = self.loss.loser
        return {
            "tenant_id": loser.tenant_id,
            "project_id": loser.project_id,
            "bucket": loser.bucket,
            "ts": loser.ts_ns,
            "event_id": self.stored.event_id,
            "canonical_sha256": self.stored.canonical_sha256,
            "received_at": loser.received_ns,
            "raw_partition": loser.raw_partition,
            "raw_offset": loser.raw_offset,
            "removed": 1,
        }

    def handoff_tombstone(self) -> dict[str, Any]:
        """For `handoffs`: also hides a fact that is still on its way, its key being known."""
        loser = self.loss.loser
        return {
            "tenant_id": loser.tenant_id,
            "project_id": loser.project_id,
            "handed_off_at": loser.ts_ns,
            "handoff_id": self.stored.event_id,
            "source_partition": loser.raw_partition,
            "source_offset": loser.raw_offset,
            "session_id": self.stored.session_id,
            "version": HANDOFF_TOMBSTONE_VERSION,
            "removed": 1,
        }

    def settled_row(self) -> dict[str, Any]:
        """For `event_ids`."""
        loser = self.loss.loser
        return {
            "tenant_id": loser.tenant_id,
            "id_hash": loser.id_hash,
            "raw_partition": loser.raw_partition,
            "raw_offset": loser.raw_offset,
            "version": loser.version,
            "project_id": loser.project_id,
            "bucket": loser.bucket,
            "ts": loser.ts_ns,
            "event_hash": loser.event_hash,
            "settled": 1,
        }
