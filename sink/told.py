"""What the headers of many records say, column by column. Pure.

:func:`sink.route.enriched` says what a record must have and names what is wrong with one; this says the same of the records
it calls plain, for a fifth of the price. It is not a second opinion: whatever is not plainly in order is left to that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contracts import headers as h
from contracts.dead_letters import SourceRecord
from sink.event_rows import SHA256, TIME
from sink.route import MAX_OFFSET, MAX_PARTITION
from sink.wire_view import parse

#: Every header that is read, with its value in records that do not have it; None: they must.
_HEADERS: dict[str, bytes | None] = {
    h.TENANT_ID: None,
    h.PROJECT_ID: None,
    h.EVENT_ID: None,
    h.BATCH_ID: b"",
    h.TRACEPARENT: b"",
    h.RECEIVED_AT_NS: None,
    h.SCHEMA: None,
    h.ENRICHMENT: None,
}
_LAST_NS = str((1 << 63) - 1)
Headers = Sequence[tuple[str, bytes | None]]
Values = Sequence[bytes | None]
Rows = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Told:
    """Row by row, in the records' order."""

    #: Columns of `events` by name.
    columns: dict[str, pa.Array]
    #: Unix nanoseconds.
    received_ns: npt.NDArray[np.int64]
    #: What an END's START said; null where nothing was lost.
    recovered: pa.StructArray
    #: The headers are in order and the record is no marked copy: its other columns hold. False: ask about it singly.
    plain: Rows

    def only(self, rows: Rows) -> Told:
        """The chosen rows."""
        if rows.all():
            return self
        mask = pa.array(rows)
        columns = {name: column.filter(mask) for name, column in self.columns.items()}
        return Told(columns, self.received_ns[rows], self.recovered.filter(mask), self.plain[rows])


def told(records: Sequence[SourceRecord]) -> Told:
    """Read the headers of `records`, at least one. Raises :class:`sink.wire_view.RefusedBatch` when an enrichment, unnamed,
    does not parse."""
    values = _by_name([record.headers for record in records])
    plain = np.ones(len(records), bool)
    names = (h.TENANT_ID, h.PROJECT_ID, h.EVENT_ID, h.BATCH_ID, h.TRACEPARENT)
    columns = {name: _text(values[name], plain) for name in names}
    for name in (h.TENANT_ID, h.EVENT_ID):
        _require(pc.not_equal(columns[name], ""), plain)
    if values[h.SCHEMA].count(h.EVENT_SCHEMA.encode()) != len(records):
        _require(pc.equal(pa.array(values[h.SCHEMA], pa.binary()), h.EVENT_SCHEMA.encode()), plain)
    received = _received(_text(values[h.RECEIVED_AT_NS], plain), plain)
    columns["received_at"] = received.cast(TIME)
    found = parse([value or b"" for value in values[h.ENRICHMENT]], "Enrichment")
    columns |= _found(found, plain)
    return Told(columns, received.to_numpy(), found.column("recovered"), plain)


def _by_name(headers: Sequence[Headers]) -> dict[str, Values]:
    """The values of each header in :data:`_HEADERS`, one per record. When a name repeats, the first counts."""
    groups = _layouts(headers)
    if len(groups) == 1:
        ((layout, (_, columns)),) = groups.items()
        count = len(headers)
        return {
            name: columns[layout.index(name)] if name in layout else [absent] * count
            for name, absent in _HEADERS.items()
        }
    found: dict[str, Values] = {}
    for name, absent in _HEADERS.items():
        values: list[bytes | None] = [absent] * len(headers)
        for layout, (places, columns) in groups.items():
            if name in layout:
                for place, value in zip(places, columns[layout.index(name)], strict=True):
                    values[place] = value
        found[name] = values
    return found


def _layouts(
    headers: Sequence[Headers],
) -> dict[tuple[str, ...], tuple[Sequence[int], list[Values]]]:
    """Records by the names of their headers, in order: which records, and their values header by header.

    A topic has few layouts, because gateway and processors write in one order; most batches have one or two.
    """
    widths = [len(pairs) for pairs in headers]
    found: dict[tuple[str, ...], tuple[Sequence[int], list[Values]]] = {}
    for width in sorted(set(widths)):
        places = [place for place, other in enumerate(widths) if other == width]
        some = headers if len(places) == len(headers) else [headers[place] for place in places]
        flat = list(chain.from_iterable(some))
        names, values = zip(*flat, strict=True) if flat else ((), ())
        layout = names[:width]
        if names == layout * len(places):
            found[layout] = (places, [values[column::width] for column in range(width)])
            continue
        split: dict[tuple[str, ...], list[int]] = {}
        for place, pairs in zip(places, some, strict=True):
            split.setdefault(tuple([name for name, _ in pairs]), []).append(place)
        for layout, same in split.items():
            found[layout] = (same, list(zip(*[[value for _, value in headers[place]] for place in same], strict=True)))
    return found


def _text(values: Values, plain: Rows) -> pa.Array:
    """A column of text without nulls; what is missing or no UTF-8 is '' and not plain."""
    array = pa.array(values, pa.binary())
    try:
        text = array.cast(pa.string())
    except pa.ArrowInvalid:
        text = pa.array([_decoded(value) for value in values], pa.string())
    if text.null_count:
        plain &= text.is_valid().to_numpy(zero_copy_only=False)
        text = pc.fill_null(text, "")
    return text


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _require(condition: pa.Array, plain: Rows) -> None:
    """Only rows that fulfil `condition` (null does not) stay plain."""
    plain &= pc.fill_null(condition, False).to_numpy(zero_copy_only=False)


def _received(text: pa.Array, plain: Rows) -> pa.Array:
    """Decimal ASCII as int64; 0 where it is none, or too large, which is then not plain."""
    length = pc.binary_length(text)
    fits = pc.or_(pc.less(length, 19), pc.and_(pc.equal(length, 19), pc.less_equal(text, _LAST_NS)))
    good = pc.and_(pc.ascii_is_decimal(text), fits)
    if pc.all(good).as_py():
        return text.cast(pa.int64())
    _require(good, plain)
    return pc.if_else(good, text, "0").cast(pa.int64())


def _found(found: pa.RecordBatch, plain: Rows) -> dict[str, pa.Array]:
    """Columns of `events` that the enrichment brings. Says which rows it leaves plain."""
    partition, offset = (pc.struct_field(found.column("raw"), name) for name in ("partition", "offset"))
    for number, most in ((partition, MAX_PARTITION), (offset, MAX_OFFSET)):
        _require(pc.and_(pc.greater_equal(number, 0), pc.less_equal(number, most)), plain)  # null: no position at all
    for mark in ("resend_of", "conflicts_with"):
        if found.column(mark).null_count < found.num_rows:
            plain &= found.column(mark).is_null().to_numpy(zero_copy_only=False)
    return {
        "effective_status": found.column("effective_status"),
        "duration_ms": found.column("duration_ms"),
        "cost_usd": found.column("cost_usd"),
        "redacted": found.column("redacted"),
        "redaction_version": found.column("redaction_version"),
        "raw_partition": pc.cast(_zero_unless(partition, plain), pa.uint32()),
        "raw_offset": pc.cast(_zero_unless(offset, plain), pa.uint64()),
        "content_sha256": _sha256(found.column("content_sha256"), plain),
        "canonical_sha256": _sha256(found.column("canonical_sha256"), plain),
    }


def _zero_unless(numbers: pa.Array, plain: Rows) -> pa.Array:
    return numbers if plain.all() else pc.if_else(pa.array(plain), numbers, 0)


def _sha256(hashes: pa.Array, plain: Rows) -> pa.Array:
    right: Any = pc.equal(pc.binary_length(hashes), SHA256.byte_width)
    if not pc.all(right).as_py():
        _require(right, plain)
        hashes = pc.if_else(right, hashes, pa.scalar(bytes(SHA256.byte_width), pa.binary()))
    return hashes.cast(SHA256)
