"""Any message of a protobuf type, for property tests: every field may be set, enum numbers may be unknown."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

_TEXT = st.text(max_size=12) | st.sampled_from(["", "\x00", "é", "日本語", "𝕏", "a b", "'; DROP"])
_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, (1 << 64) - 1),
    FieldDescriptor.CPPTYPE_ENUM: st.integers(0, 70) | st.integers(-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
}


@st.composite
def any_message(draw: st.DrawFn, message_class: Any, depth: int = 3) -> Any:
    """A message of `message_class` with any of its fields, nested up to `depth`."""
    made = message_class()
    for field in draw(st.lists(st.sampled_from(list(message_class.DESCRIPTOR.fields)), max_size=12)):
        _set(draw, made, field, depth)
    return made


def _set(draw: st.DrawFn, made: Any, field: Any, depth: int) -> None:
    name = field.name
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        if depth > 0:
            value = getattr(made, name)[draw(_TEXT)]
            value.CopyFrom(draw(any_message(type(value), depth - 1)))
    elif field.is_repeated:
        for _ in range(draw(st.integers(0, 3))):
            if field.message_type is None:
                getattr(made, name).append(draw(_value(field)))
            elif depth > 0:
                item = getattr(made, name).add()
                item.CopyFrom(draw(any_message(type(item), depth - 1)))
    elif field.message_type is None:
        setattr(made, name, draw(_value(field)))
    elif depth > 0:
        part = getattr(made, name)
        part.SetInParent()
        part.MergeFrom(draw(any_message(type(part), depth - 1)))


def _value(field: Any) -> st.SearchStrategy[Any]:
    if field.cpp_type != FieldDescriptor.CPPTYPE_STRING:
        return _NUMBERS[field.cpp_type]
    return st.binary(max_size=12) if field.type == FieldDescriptor.TYPE_BYTES else _TEXT
