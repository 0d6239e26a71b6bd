"""From a record of the enriched topic to what the sink does with it. Pure; reads headers only, never the client's bytes.

The headers are the word of the gateway (who, when) and of the processors (where in the raw topic, which hashes, whether an
earlier copy is known). A record without them did not come their way and is refused with :class:`BadRecord`.
"""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.message import DecodeError

from contracts.dead_letters import Reason, SourceRecord
from contracts.errors import PermanentError
from contracts.headers import EventHeaders, ForeignRecord
from contracts.v1.enrichment_pb2 import Enrichment

_SHA256_BYTES = 32
#: What the version column can rank (see sql/migrations/0001_events.sql).
MAX_PARTITION = (1 << 16) - 1
MAX_OFFSET = (1 << 48) - 1


class BadRecord(PermanentError):
    """The record can never become a row; `reason` goes into its dead letter."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Enriched(NamedTuple):
    """A record of the enriched topic whose headers are in order."""

    source: SourceRecord
    headers: EventHeaders
    enrichment: Enrichment
    #: The whole enriched value: the client's bytes, then the extension.
    value: bytes

    @property
    def is_resend(self) -> bool:
        """The processors saw an earlier copy with the same content."""
        return self.enrichment.HasField("resend_of")

    @property
    def is_conflict(self) -> bool:
        """The processors saw an earlier copy with other content."""
        return self.enrichment.HasField("conflicts_with")

    @property
    def is_marked(self) -> bool:
        """The processors saw an earlier copy: this one does not enter `events`."""
        return self.is_resend or self.is_conflict


def enriched(source: SourceRecord) -> Enriched:
    """Check the headers of a record of the enriched topic. Raises :class:`BadRecord`."""
    try:
        headers = EventHeaders.parse(source.headers)
    except ForeignRecord as error:
        raise BadRecord(Reason.FOREIGN_RECORD, str(error)) from None
    if headers.enrichment is None:
        raise BadRecord(Reason.FOREIGN_RECORD, "header enrichment: missing")
    try:
        enrichment = Enrichment.FromString(headers.enrichment)
    except DecodeError:
        raise BadRecord(Reason.FOREIGN_RECORD, "header enrichment: not an Enrichment") from None
    raw = enrichment.raw
    if not enrichment.HasField("raw") or not (0 <= raw.partition <= MAX_PARTITION and 0 <= raw.offset <= MAX_OFFSET):
        raise BadRecord(Reason.FOREIGN_RECORD, "header enrichment: no position in the raw topic")
    if enrichment.resend_of < 0 or enrichment.conflicts_with < 0:
        raise BadRecord(Reason.FOREIGN_RECORD, "header enrichment: no position of the earlier copy")
    if len(enrichment.content_sha256) != _SHA256_BYTES or len(enrichment.canonical_sha256) != _SHA256_BYTES:
        raise BadRecord(Reason.FOREIGN_RECORD, "header enrichment: no sha-256 of the content")
    return Enriched(source, headers, enrichment, source.value or b"")
