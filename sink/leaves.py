"""The text inside Structs, column-wise: from the Arrow form of unrolled Structs to one string per row. Pure.

The same words as :func:`sink.search_text.struct_text` finds in the parsed message, in another order (level by level, each in
wire order). Two differences exist, and only for bytes that no encoder writes. A map key or a Value's kind that is on the
wire twice: the text that the last one shadows is found too. A message more than three levels deep that is on the wire in
two parts: the first part's text is not found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sink.wire_view import parse

Rows = npt.NDArray[np.int64]


def parts(array: pa.StructArray) -> dict[str, pa.Array]:
    """The fields of a message column; null where the message is absent."""
    return dict(zip((inner.name for inner in array.type), array.flatten(), strict=True))


@dataclass(slots=True)
class _Found:
    rows: list[Rows] = field(default_factory=list)
    texts: list[pa.Array] = field(default_factory=list)


def struct_texts(count: int, structs: Sequence[pa.StructArray]) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Per row the words of its `structs` joined by spaces (null without any), and the bytes of that text."""
    found = _Found()
    every = np.arange(count)
    for struct in structs:
        _struct(struct, every, found)
    lengths = np.zeros(count, np.int64)
    if not found.rows:
        return pa.nulls(count, pa.string()), lengths
    rows = np.concatenate(found.rows)
    texts = pa.concat_arrays(found.texts)
    words = np.bincount(rows, minlength=count)
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum(words, out=offsets[1:])
    order = pa.array(np.argsort(rows, kind="stable"))
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), texts.take(order)), " ")
    lengths[:] = pc.binary_length(joined).to_numpy(zero_copy_only=False)
    return pc.if_else(pa.array(words > 0), joined, pa.scalar(None, pa.string())), lengths


def _inside(array: pa.StructArray, rows: Rows) -> tuple[pa.Array, Rows] | None:
    """The elements of the message's one repeated field, and the row of each."""
    if array.null_count == len(array):
        return None
    (elements,) = array.flatten()
    counts = pc.fill_null(pc.list_value_length(elements), 0).to_numpy()
    return (elements.flatten(), np.repeat(rows, counts)) if counts.any() else None


def _struct(array: pa.StructArray, rows: Rows, found: _Found) -> None:
    inside = _inside(array, rows)
    if inside is not None:
        entries, rows = inside
        _values(entries.flatten()[0], rows, found)


def _list(array: pa.StructArray, rows: Rows, found: _Found) -> None:
    inside = _inside(array, rows)
    if inside is not None:
        _values(*inside, found)


def _values(values: pa.StructArray, rows: Rows, found: _Found) -> None:
    fields = parts(values)
    places = _not_empty(fields["string_value"])
    if len(places):
        found.rows.append(rows[places])
        found.texts.append(fields["string_value"].take(pa.array(places)))
    for name, message, descend in (("struct_value", "Struct1", _struct), ("list_value", "List1", _list)):
        nested = fields[name]
        if pa.types.is_struct(nested.type):
            descend(nested, rows, found)
            continue
        places = _not_empty(nested)
        if len(places):
            deeper = parse(nested.take(pa.array(places)).to_pylist(), message)
            descend(deeper.to_struct_array(), rows[places], found)


def _not_empty(array: pa.Array) -> Any:
    return np.flatnonzero(pc.fill_null(pc.binary_length(array), 0).to_numpy())
