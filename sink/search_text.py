"""What ``text_query`` searches in: the words of an event, as one string per row. Pure.

message.text, tool name and function_name, error messages, hand-off reason, policy rationale, MCP server and operation,
agent_name, and the string values inside the content's Structs, of those the first 32 KiB. Keys are not searched.
"""

from __future__ import annotations

from typing import Any

#: Of the text inside Structs, UTF-8 bytes.
STRUCT_TEXT_MAX_BYTES = 32 * 1024


def struct_text(*structs: Any) -> str:
    """The string values of `structs`, joined by spaces and cut at :data:`STRUCT_TEXT_MAX_BYTES`; '' when there are none."""
    found: list[str] = []
    for struct in structs:
        _collect_struct(struct, found)
    if not found:
        return ""
    text = " ".join(found)
    # A character is at most four bytes: short text needs no encoding to know that it fits.
    if len(text) * 4 <= STRUCT_TEXT_MAX_BYTES:
        return text
    # upb iterates maps in an order of its own: only where the cut falls does the order matter, and then it must be the
    # same in every process, or a replayed row would be another row.
    found.clear()
    for struct in structs:
        _collect_struct(struct, found, in_order=True)
    return _cut(" ".join(found))


def _cut(text: str) -> str:
    data = text.encode()
    return text if len(data) <= STRUCT_TEXT_MAX_BYTES else data[:STRUCT_TEXT_MAX_BYTES].decode(errors="ignore")


def _collect_struct(struct: Any, found: list[str], in_order: bool = False) -> None:
    fields = struct.fields
    if in_order:
        for key in sorted(fields):
            _collect_value(fields[key], found, in_order)
        return
    for value in fields.values():
        _collect_value(value, found, in_order)


def _collect_value(value: Any, found: list[str], in_order: bool) -> None:
    text = value.string_value
    if text:
        found.append(text)
        return
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        _collect_struct(value.struct_value, found, in_order)
    elif kind == "list_value":
        for item in value.list_value.values:
            _collect_value(item, found, in_order)
