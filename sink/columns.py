"""From the wire form of many events to Arrow columns, without a Python object per event. Pure.

What an event carries in its own bytes; identity, time of receipt and what the processors found out are not read here. Rows
that this way could get wrong are named, and :mod:`sink.rows` maps them the slow way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sink.leaves import parts, struct_texts
from sink.search_text import STRUCT_TEXT_MAX_BYTES
from sink.times import MAX_NS, MIN_NS, NANOS
from sink.wire_view import ARMS, PLAIN, parse

_EMPTY = pa.scalar("")
_ZERO = pa.scalar(0, pa.int32())


@dataclass(frozen=True, slots=True)
class WireColumns:
    """What the events say, row by row."""

    event_id: pa.Array
    tenant_id: pa.Array
    #: Columns of `events` by name.
    columns: dict[str, pa.Array]
    #: Unix nanoseconds, clamped; where `has_time`.
    times: npt.NDArray[np.int64]
    has_time: npt.NDArray[np.bool_]
    #: US dollars; where `costs_known` the client's word: null means not a finite number.
    costs: pa.Array
    costs_known: pa.Array
    #: Rows that must be mapped from the parsed message.
    odd: npt.NDArray[np.bool_]


def wire_columns(values: list[bytes]) -> WireColumns:
    """Columns for `values`. Raises :class:`sink.wire_view.RefusedBatch` when one of them, unnamed, does not parse."""
    batch = parse(values)
    count = len(values)
    arms = {name: parts(batch.column(name)) for name in ARMS if name != "state_update"}
    stamp, cost = parts(batch.column("timestamp")), parts(batch.column("cost"))
    times, has_time, odd = _times(batch.column("timestamp"), stamp)
    odd |= _arms_present(batch) > 1  # the last arm on the wire counts, and only a parser in wire order knows it
    text, too_long = _search_text(batch, arms, count)
    odd |= too_long
    columns = {name: batch.column(name) for name in PLAIN}
    columns |= _content(arms)
    columns |= _retry(parts(batch.column("retry")))
    columns |= _redaction(parts(batch.column("redaction")))
    columns["search_text"] = text
    has_cost = batch.column("cost").is_valid()
    total = cost["total_cost"]
    in_dollars = pc.is_in(pc.utf8_upper(cost["currency"]), pa.array(["", "USD"]))
    return WireColumns(
        event_id=batch.column("event_id"),
        tenant_id=batch.column("tenant_id"),
        columns=columns,
        times=times,
        has_time=has_time,
        costs=pc.if_else(pc.is_finite(total), total, pa.scalar(None, pa.float64())),
        costs_known=pc.and_(has_cost, pc.fill_null(pc.and_(pc.not_equal(total, 0.0), in_dollars), False)),
        odd=odd,
    )


def _times(column: pa.Array, stamp: dict[str, pa.Array]) -> tuple[Any, Any, Any]:
    """Times, where there are any, and rows whose nanos are out of range (the front door refuses them)."""
    seconds = pc.fill_null(stamp["seconds"], 0).to_numpy()
    nanos = pc.fill_null(stamp["nanos"], 0).to_numpy().astype(np.int64)
    low, high = MIN_NS // NANOS, MAX_NS // NANOS
    times = np.clip(seconds, low, high - 1) * NANOS + nanos
    times = np.where(seconds < low, MIN_NS, np.where(seconds >= high, MAX_NS, times))
    return times, column.is_valid().to_numpy(zero_copy_only=False), (nanos < 0) | (nanos >= NANOS)


def _arms_present(batch: pa.RecordBatch) -> npt.NDArray[np.int8]:
    present = np.zeros(batch.num_rows, np.int8)
    for name in ARMS:
        column = batch.column(name)
        if column.null_count < batch.num_rows:
            present += column.is_valid().to_numpy(zero_copy_only=False)
    return present


def _content(arms: dict[str, dict[str, pa.Array]]) -> dict[str, pa.Array]:
    tool, model, mcp = arms["tool_call"], arms["llm_invocation"], arms["mcp_call"]
    policy, error, access, response = arms["policy"], arms["error"], arms["data_access"], arms["tool_response"]
    return {
        "mcp_server": pc.fill_null(mcp["server_name"], _EMPTY),
        "mcp_operation": pc.fill_null(mcp["operation"], _EMPTY),
        "tool_name": pc.fill_null(tool["name"], _EMPTY),
        "function_name": pc.fill_null(tool["function_name"], _EMPTY),
        "model_provider": pc.fill_null(model["provider"], _EMPTY),
        "model": pc.fill_null(model["model"], _EMPTY),
        "prompt_tokens": pc.fill_null(model["prompt_tokens"], _ZERO),
        "completion_tokens": pc.fill_null(model["completion_tokens"], _ZERO),
        "total_tokens": pc.fill_null(model["total_tokens"], _ZERO),
        "error_code": pc.fill_null(error["error_code"], _EMPTY),
        "error_message": pc.coalesce(error["error_message"], response["error_message"], _EMPTY),
        "policy_id": pc.fill_null(policy["policy_id"], _EMPTY),
        "policy_outcome": pc.fill_null(policy["outcome"], _EMPTY),
        "policy_rule_ids": _list(policy["rule_ids"]),
        "policy_rationale": pc.fill_null(policy["rationale"], _EMPTY),
        "datasource": pc.fill_null(access["datasource"], _EMPTY),
        "document_ids": _list(access["document_ids"]),
        "accessed_pii_categories": _list(access["pii_categories"]),
        "http_status": pc.fill_null(response["http_status"], _ZERO),
        "finish_reason": pc.fill_null(model["finish_reason"], _EMPTY),
        "reported_ms": _milliseconds(
            pc.coalesce(response["execution_time_ms"], model["duration_ms"], mcp["execution_time_ms"])
        ),
    }


def _retry(retry: dict[str, pa.Array]) -> dict[str, pa.Array]:
    return {
        "retry_attempt": retry["attempt"],
        "retry_strategy": pc.fill_null(retry["strategy"], _EMPTY),
        "retry_backoff_ms": retry["backoff_ms"],
    }


def _redaction(redaction: dict[str, pa.Array]) -> dict[str, pa.Array]:
    return {
        "redaction_fields": _list(redaction["fields"]),
        "redaction_method": pc.fill_null(redaction["method"], _EMPTY),
        "redaction_salt_id": pc.fill_null(redaction["salt_id"], _EMPTY),
    }


def _list(lists: pa.ListArray) -> pa.ListArray:
    """Empty lists for absent ones."""
    if lists.null_count == 0:
        return lists
    if lists.null_count == len(lists):
        return pa.array([[]], lists.type).take(pa.array(np.zeros(len(lists), np.int64)))
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    offsets = np.zeros(len(lists) + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), lists.flatten())


def _milliseconds(values: pa.Array) -> pa.Array:
    """Null for what no clock has measured: 0 is a field that was not set."""
    known = pc.and_(pc.is_finite(values), pc.not_equal(values, 0.0))
    return pc.if_else(known, values, pa.scalar(None, pa.float64()))


def _search_text(batch: pa.RecordBatch, arms: dict[str, dict[str, pa.Array]], count: int) -> tuple[pa.Array, Any]:
    """The text, and the rows where that inside the Structs must be cut."""
    structs, lengths = struct_texts(
        count,
        [
            arms["message"]["metadata"],
            arms["tool_call"]["arguments"],
            arms["tool_response"]["output"],
            arms["llm_invocation"]["request"],
            arms["llm_invocation"]["response"],
            batch.column("state_update"),
            arms["agent_handoff"]["handoff_data"],
            arms["mcp_call"]["request"],
            arms["mcp_call"]["response"],
        ],
    )
    words = [
        batch.column("agent_name"),
        arms["message"]["text"],
        arms["tool_call"]["name"],
        arms["tool_call"]["function_name"],
        pc.coalesce(arms["error"]["error_message"], arms["tool_response"]["error_message"]),
        arms["agent_handoff"]["reason"],
        arms["policy"]["rationale"],
        arms["mcp_call"]["server_name"],
        arms["mcp_call"]["operation"],
    ]
    given = [_without_empty(word) for word in words if word.null_count < count]
    # The kernel leaves out rows in which there is nothing to join; with an empty word first there always is, and the
    # separator behind it is cut off again.
    joined = pc.binary_join_element_wise(_EMPTY, *given, structs, pa.scalar(" "), null_handling="skip")
    return pc.utf8_slice_codeunits(joined, 1), lengths > STRUCT_TEXT_MAX_BYTES


def _without_empty(array: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(array, _EMPTY), pa.scalar(None, pa.string()), array)
