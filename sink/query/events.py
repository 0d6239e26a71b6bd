"""QueryEvents: the stored events as they were sent, with the server's extension, byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from chaukas.spec.common.v1.events_pb2 import Event
from chaukas.spec.common.v1.query_pb2 import QueryFilter
from chaukas.spec.server.v1 import server_pb2
from google.protobuf.struct_pb2 import Struct

from contracts.identity import Identity
from contracts.wire import parseable, without_unparseable_fields
from runtime.logs import get_logger
from sink.query.builder import event_confirm, event_page, rows_at
from sink.query.engine import Deadline, Engine
from sink.query.identity import scope_of
from sink.query.listing import Listing, ListRequest
from sink.query.pages import TokenCodec
from sink.query.slices import Hints

#: The key of the extension that names the fields which an answer left out.
LEFT_OUT = "chaukas.gateway.left_out"

log = get_logger(__name__)

#: A field's tag and length in front of each event.
_FRAME_BYTES = 8
_LISTING = Listing(
    "events",
    keys=3,
    statement=event_page,
    overhead_bytes=_FRAME_BYTES,
    confirm=event_confirm,
)

#: Tags of length-delimited fields: QueryEventsResponse.response, QueryResponse.events, QueryResponse.next_page_token.
_RESPONSE, _EVENTS, _NEXT_PAGE_TOKEN = b"\x0a", b"\x0a", b"\x12"


class EventQueries:
    """Answers QueryEvents."""

    def __init__(self, engine: Engine, codec: TokenCodec) -> None:
        self._engine = engine
        self._codec = codec
        self._hints = Hints()

    async def query_events(
        self, identity: Identity, request: server_pb2.QueryEventsRequest, deadline: Deadline
    ) -> bytes:
        """A serialized QueryEventsResponse. Raises InvalidInput, PermissionDenied and what the engine raises."""
        query = request.query
        scope = scope_of(identity, query.filter.tenant_id, query.filter.project_id)
        hints = self._hints if worth_slicing(query.filter) else None
        page = await _LISTING.page(self._engine, self._codec, scope, ListRequest.of(query, "query."), deadline, hints)
        payloads: dict[tuple[Any, ...], bytes] = {}
        if page.rows:
            statement = rows_at("event_payloads", scope, [row.position for row in page.rows])
            payloads = shown(await self._engine.rows(statement, deadline))
        # A row that retention or settling removed between the two reads is not there any more: the page is shorter.
        events = [payloads[row.position] for row in page.rows if row.position in payloads]
        return response_bytes(readable(events), page.next_page_token)


def worth_slicing(filters: QueryFilter) -> bool:
    """Whether the engine would look at more than a page: a session, trace or span has few events."""
    return not (filters.session_id or filters.trace_id or filters.span_id)


def shown(copies: Iterable[Sequence[Any]]) -> dict[tuple[Any, ...], bytes]:
    """The payload that counts for each position, from rows of ``event_payloads.sql``: that of the largest version (one record
    stored again: the last one, because its content may have been redacted or erased since), none where that is a tombstone."""
    best: dict[tuple[Any, ...], tuple[tuple[int, int], int, bytes]] = {}
    for *position, version, ingested_us, removed, raw in copies:
        key, rank = tuple(position), (version, ingested_us)
        if key not in best or rank > best[key][0]:
            best[key] = (rank, removed, raw)
    return {key: raw for key, (_, removed, raw) in best.items() if not removed}


def readable(events: list[bytes]) -> list[bytes]:
    """`events`, each as it is if a page with it can be read.

    What an earlier version stored may be nested too deep for that (the writer dead-letters it now). Such an event is shown without
    the fields that are, and says which (an extension with :data:`LEFT_OUT`): it would cost its readers the whole page.
    """
    fits = parseable(events)
    if all(fits):
        return events
    return [event if fit else _in_part(event) for event, fit in zip(events, fits, strict=True)]


def _in_part(event: bytes) -> bytes:
    kept, left_out = without_unparseable_fields(event)
    known = Event.DESCRIPTOR.fields_by_number
    names = [known[number].name if number in known else str(number) for number in dict.fromkeys(left_out)]
    log.warning("event shown in part: nested too deep for a page", fields=names)
    told = Struct()
    told.update({LEFT_OUT: names})
    mark = Event()
    mark.extensions.add(type_url="type.googleapis.com/google.protobuf.Struct", value=told.SerializeToString())
    # In front: of the extensions the processors' own is the last.
    shown: bytes = mark.SerializeToString() + kept
    return shown


def response_bytes(events: Iterable[bytes], next_page_token: str) -> bytes:
    """A serialized QueryEventsResponse around events that are serialized already: nothing in them is parsed or changed."""
    parts: list[bytes] = []
    for event in events:
        parts += (_EVENTS, _varint(len(event)), event)
    if next_page_token:
        token = next_page_token.encode()
        parts += (_NEXT_PAGE_TOKEN, _varint(len(token)), token)
    return b"".join((_RESPONSE, _varint(sum(map(len, parts))), *parts))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
