"""From the steps' outputs to records on topics: names, keys, headers, sizes."""

from __future__ import annotations

from typing import Protocol

from contracts import dead_letters
from contracts import headers as h
from contracts.dead_letters import Reason, Stage
from contracts.topics import DEAD_LETTER_MAX_BYTES, ENRICHED_MAX_BYTES, Topics
from processors.enrich import Enriched
from processors.intake import BadRecord, Headers, RawRecord
from processors.pipeline import Output

#: What Kafka adds to a record at most: batch header, lengths, and a few bytes per header.
_OVERHEAD_BYTES = 512
_HEADER_OVERHEAD_BYTES = 16
#: A value of this length, with headers of twice its length, and a key as long, with what Kafka adds: four fifths.
_SURELY_FITS = ENRICHED_MAX_BYTES // 5


class Sender(Protocol):
    """The part of a transport's outbox that is used here."""

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        *,
        timestamp_ms: int = 0,
        headers: Headers | None = None,
    ) -> None: ...


def record_bytes(value: bytes, key: bytes | None, headers: Headers) -> int:
    """An upper bound of the record's size on the wire."""
    size = len(value) + len(key or b"") + len(headers) * _HEADER_OVERHEAD_BYTES + _OVERHEAD_BYTES
    for name, content in headers:
        size += len(name) + len(content) if content else len(name)
    return size


def check_size(enriched: Enriched, source: RawRecord) -> None:
    """Raises :class:`BadRecord` when the enriched topic would not take the record."""
    if enriched.has_bounded_headers and len(enriched.value) < _SURELY_FITS and len(source.key or b"") < _SURELY_FITS:
        return
    size = record_bytes(enriched.value, source.key, enriched.headers)
    if size > ENRICHED_MAX_BYTES:
        raise BadRecord(Reason.TOO_LARGE, f"enriched it takes {size} bytes; the topic takes {ENRICHED_MAX_BYTES}")


def emit(sender: Sender, topics: Topics, source: RawRecord, output: Output) -> None:
    """The enriched record and the facts, with the raw record's key and timestamp."""
    key, timestamp_ms = source.key, source.timestamp_ms
    if timestamp_ms < 0:
        timestamp_ms = 0
    enriched = output.enriched
    sender.send(topics.enriched, enriched.value, key, timestamp_ms=timestamp_ms, headers=enriched.headers)
    for handoff in output.handoffs:
        headers = _fact_headers(h.HANDOFF_SCHEMA, handoff.tenant_id, handoff.project_id)
        value = handoff.SerializeToString(deterministic=True)
        sender.send(topics.handoffs, value, key, timestamp_ms=timestamp_ms, headers=headers)
    for call in output.mcp_calls:
        headers = _fact_headers(h.MCP_CALL_SCHEMA, call.tenant_id, call.project_id)
        value = call.SerializeToString(deterministic=True)
        sender.send(topics.mcp_calls, value, key, timestamp_ms=timestamp_ms, headers=headers)


def emit_dead_letter(
    sender: Sender, topics: Topics, source: RawRecord, bad: BadRecord, *, withhold: bool = False
) -> None:
    """The letter for `source`, with its key and timestamp; `withhold`: without its value."""
    letter = dead_letters.build(source.to_source(), Stage.PROCESSORS, bad.reason, str(bad), withhold=withhold)
    headers: Headers = [*dead_letters.record_headers(letter)]
    value = letter.SerializeToString(deterministic=True)
    if record_bytes(value, source.key, headers) > DEAD_LETTER_MAX_BYTES:
        # Only when someone raised the raw topic's limit above the product's: keep everything but the value.
        letter.message = f"{bad} (its value of {len(letter.value)} bytes is only in {source.topic})"
        letter.value = b""
        value = letter.SerializeToString(deterministic=True)
    sender.send(topics.dead_letters, value, source.key, timestamp_ms=max(0, source.timestamp_ms), headers=headers)


def _fact_headers(schema: str, tenant_id: str, project_id: str) -> Headers:
    return [(h.TENANT_ID, tenant_id.encode()), (h.PROJECT_ID, project_id.encode()), (h.SCHEMA, schema.encode())]
