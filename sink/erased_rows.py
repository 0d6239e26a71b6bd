"""What is left of rows whose content was erased. Pure.

Who, when and where stays: ids, type, times, numbers, names of what was called, hashes, positions. So statistics stay exact and
every raw offset keeps its fate. What anybody wrote goes: payload, search text, messages, reasons, tags, addresses, documents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from chaukas.spec.common.v1.events_pb2 import Event
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from contracts import headers as h
from contracts.v1.dead_letter_pb2 import DeadLetter
from sink.event_rows import SCHEMA
from sink.times import NANOS, rfc3339
from sink.tombstones import EVENT, SESSION, Stone, Tombstones

ERASURE_ID = pa.field("erasure_id", pa.string())
#: The key of the extension that says so, as the processors'.
EXTENSION_KEY = "chaukas.gateway"
#: By table: columns with content. Text becomes '', a list empty; `raw` of events a skeleton, letters are withheld.
CONTENT: Mapping[str, tuple[str, ...]] = {
    "events": (
        "raw",
        "search_text",
        "error_message",
        "policy_rationale",
        "datasource",
        "tags",
        "document_ids",
    ),
    "conflicts": ("raw",),
    "handoffs": ("reason",),
    "mcp_calls": ("error_message", "server_url"),
    "dead_letters": ("letter",),
}
#: By table: the columns of event ids, and those of times.
IDS: Mapping[str, tuple[str, ...]] = {
    "events": ("event_id",),
    "conflicts": ("event_id",),
    "handoffs": ("handoff_id",),
    "mcp_calls": ("start_event_id", "end_event_id"),
}
TIMES: Mapping[str, tuple[str, ...]] = {
    "events": ("ts", "received_at"),
    "conflicts": ("ts", "received_at"),
    "handoffs": ("handed_off_at",),
    "mcp_calls": ("at",),
}


def split(table: str, rows: pa.Table, stones: Tombstones) -> list[pa.Table]:
    """`rows` of `table` as they may be inserted: those that no tombstone covers, then what is left of the others. In pieces that
    are not empty; their order is not that of `rows`."""
    if not stones or table not in CONTENT or not rows.num_rows:
        return [rows]
    found = _covered_letters(rows, stones) if table == "dead_letters" else _covered(table, rows, stones)
    if not found:
        return [rows]
    places = sorted(found)
    kept = sorted(set(range(rows.num_rows)) - found.keys())
    erased = erase(table, rows.take(pa.array(places, pa.int64())), [found[place] for place in places])
    return ([rows.take(pa.array(kept, pa.int64()))] if kept else []) + [erased]


def erase(table: str, rows: pa.Table, stones: Sequence[Stone]) -> pa.Table:
    """What is left of `rows`, each with the tombstone that covers it."""
    replace = {"events": _skeletons, "dead_letters": _withheld}.get(table)
    if replace is not None:
        rows = replace(rows, stones)
    for name in CONTENT[table]:
        field = rows.schema.field(name)
        if replace is None or name not in ("raw", "letter"):
            rows = rows.set_column(rows.schema.get_field_index(name), field, _blank(field.type, rows.num_rows))
    return rows.append_column(ERASURE_ID, pa.array([stone.erasure_id for stone in stones], pa.string()))


def _blank(kind: pa.DataType, count: int) -> pa.Array:
    return pa.array([[] if pa.types.is_list(kind) else b"" if pa.types.is_binary(kind) else ""] * count, kind)


def _covered(table: str, rows: pa.Table, stones: Tombstones) -> dict[int, Stone]:
    """By place: the tombstones of the rows that have one."""
    ids, times = IDS[table], TIMES[table]
    mask = pc.is_in(rows.column("session_id"), pa.array(sorted(stones.values[SESSION]), pa.string()))
    if stones.values[EVENT]:
        values = pa.array(sorted(stones.values[EVENT]), pa.string())
        for name in ids:
            mask = pc.or_(mask, pc.is_in(rows.column(name), values))
    places = pc.indices_nonzero(mask).to_pylist()
    if not places:
        return {}
    some = rows.select(["tenant_id", "project_id", "session_id", *ids, *times]).take(pa.array(places, pa.int64()))
    columns = [some.column(name).to_pylist() for name in ("tenant_id", "project_id", "session_id")]
    event_ids = zip(*(some.column(name).to_pylist() for name in ids), strict=True)
    moments = zip(*(some.column(name).cast(pa.int64()).to_pylist() for name in times), strict=True)
    found: dict[int, Stone] = {}
    for place, tenant, project, session, of_events, at in zip(places, *columns, event_ids, moments, strict=True):
        stone = stones.covering(tenant, project, session, of_events, at)
        if stone is not None:
            found[place] = stone
    return found


def _skeletons(rows: pa.Table, stones: Sequence[Stone]) -> pa.Table:
    names = [name for name in SCHEMA.names if name not in CONTENT["events"]]
    columns = {
        name: (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for name, column in zip(names, rows.select(names).columns, strict=True)
    }
    made = [
        skeleton({name: values[place] for name, values in columns.items()}, stone) for place, stone in enumerate(stones)
    ]
    return rows.set_column(rows.schema.get_field_index("raw"), SCHEMA.field("raw"), pa.array(made, pa.binary()))


_SAME = ("event_id", "tenant_id", "project_id", "session_id", "span_id", "parent_span_id", "trace_id")
_ALSO = ("type", "severity", "status", "author", "agent_id", "agent_name")


def skeleton(row: Mapping[str, Any], stone: Stone) -> bytes:
    """The event that stands in a payload's place: who, when and where, and an extension that says what happened. `row` has the
    columns of `events`, times as Unix nanoseconds."""
    event = Event(**{name: row[name] for name in (*_SAME, *_ALSO)})
    event.timestamp.seconds, event.timestamp.nanos = divmod(row["ts"], NANOS)
    told = Struct()
    told.update(
        {
            EXTENSION_KEY: {
                "erased": {
                    "at": rfc3339(stone.erased_ns),
                    "erasure_id": stone.erasure_id,
                    **({"reason": stone.reason} if stone.reason else {}),
                },
                "received_at": rfc3339(row["received_at"]),
                "content_sha256": row["content_sha256"].hex(),
                "raw": {"partition": row["raw_partition"], "offset": row["raw_offset"]},
            }
        }
    )
    extension = event.extensions.add()
    extension.type_url = "type.googleapis.com/google.protobuf.Struct"
    extension.value = told.SerializeToString(deterministic=True)
    made: bytes = event.SerializeToString(deterministic=True)
    return made


def covering_letter(letter: DeadLetter, stones: Tombstones) -> Stone | None:
    """The tombstone of the event that `letter` holds; by its key where the value is no event."""
    if not stones or not letter.value:
        return None
    session, events = letter.key.decode(errors="replace"), [""]
    project: str | None = None
    try:
        event = Event.FromString(letter.value)
        if event.event_id and event.tenant_id == letter.tenant_id:
            session, events, project = event.session_id, [event.event_id], event.project_id
    except DecodeError:
        pass
    return stones.covering(letter.tenant_id, project, session, events, [letter.first_seen_ns])


def withhold(letter: DeadLetter) -> None:
    """Take the content out of a letter: value, and headers that are not the gateway's."""
    headers = [header for header in letter.headers if header.name in h.GATEWAY_HEADERS]
    kept = [(header.name, header.value if header.HasField("value") else None) for header in headers]
    letter.value, letter.withheld = b"", True
    del letter.headers[:]
    for name, value in kept:
        header = letter.headers.add(name=name)
        if value is not None:
            header.value = value


def _covered_letters(rows: pa.Table, stones: Tombstones) -> dict[int, Stone]:
    found: dict[int, Stone] = {}
    for place, data in enumerate(rows.column("letter").to_pylist()):
        stone = covering_letter(DeadLetter.FromString(data), stones)
        if stone is not None:
            found[place] = stone
    return found


def _withheld(rows: pa.Table, _: Sequence[Stone]) -> pa.Table:
    made = []
    for data in rows.column("letter").to_pylist():
        letter = DeadLetter.FromString(data)
        withhold(letter)
        made.append(letter.SerializeToString(deterministic=True))
    return rows.set_column(
        rows.schema.get_field_index("letter"), pa.field("letter", pa.binary()), pa.array(made, pa.binary())
    )


def subject_digest(subject: str) -> str:
    """How a subject is noted: so that the same one is recognized, and not kept."""
    return hashlib.sha256(subject.encode()).hexdigest()
