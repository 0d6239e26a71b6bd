"""START and END of one span: the duration, the START's id, and what a failed END lost.

Keyed by (tenant, project, session, span, family); an empty session or span never pairs. The nearest START before the END,
within the window, wins; a START that comes after its END gives no duration (``mcp_calls.py`` pairs that order too). An END
does not use its START up: a second END of the span pairs with it again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from chaukas.spec.common.v1 import events_pb2 as pb

from processors.clip import clip_name
from processors.enrichment import Recovered
from processors.intake import Incoming
from processors.statuses import START_OF_END, START_TYPES
from processors.window import Recent, Window

#: What is remembered of a START: offset, event id, time (Unix nanoseconds), and what its END may lose (see :func:`_content`;
#: empty when there is nothing). A plain tuple: it costs the least to make, and the garbage collector forgets it.
Start = tuple[int, str, int, tuple[str, ...]]
#: The first part of keys, by type of START.
_FAMILY = {kind: f"{kind}:" for kind in START_TYPES}


class Pairing(NamedTuple):
    """What an END gets from its START."""

    start_event_id: str
    duration_ms: float
    recovered: Recovered | None


_new_tuple = tuple.__new__  # a NamedTuple's own constructor costs twice as much


class Spans:
    """State of this step."""

    __slots__ = ("misses", "starts", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        #: By the START's type, session and span.
        self.starts: Recent[str, Start] = Recent(window.offsets)
        #: ENDs with a session and a span whose START is not in the window. A metric, not part of the state.
        self.misses = 0


def pair(state: Spans, event: Incoming) -> Pairing | None:
    """For an END with a known START: what follows from both. A START is remembered; other types change nothing."""
    start_type = START_OF_END.get(event.type)
    if start_type is None:
        if event.type in START_TYPES and event.session_id and event.span_id:
            start = (event.offset, event.event_id, event.time_ns, _content(event))
            state.starts.put(_FAMILY[event.type] + event.session + event.span_id, start, event.offset)
        return None
    if not event.session_id or not event.span_id:
        return None
    found = state.starts.get(_FAMILY[start_type] + event.session + event.span_id)
    if found is None or found[0] < event.offset - state.window.offsets:
        state.misses += 1
        return None
    _, start_event_id, started_ns, content = found
    recovered = _recovered(start_type, content) if content and event.event.HasField("error") else None
    return _new_tuple(Pairing, (start_event_id, (event.time_ns - started_ns) / 1_000_000, recovered))


def _content(event: Incoming) -> tuple[str, ...]:
    """The names in a START that its END loses when `error` takes the content's place in the oneof."""
    names_of = _NAMES.get(event.type)
    found = names_of(event.event) if names_of is not None else ()
    return tuple(map(clip_name, found)) if any(found) else ()


def _mcp_names(sent: Any) -> tuple[str, ...]:
    call = sent.mcp_call  # an empty one when there is none; so below
    return call.server_name, call.server_url, call.operation, call.method


def _model_names(sent: Any) -> tuple[str, ...]:
    call = sent.llm_invocation
    return call.provider, call.model


def _tool_names(sent: Any) -> tuple[str, ...]:
    call = sent.tool_call
    return call.name, call.function_name


#: By type of START; the others have nothing to lose.
_NAMES: dict[int, Callable[[Any], tuple[str, ...]]] = {
    pb.EVENT_TYPE_MCP_CALL_START: _mcp_names,
    pb.EVENT_TYPE_MODEL_INVOCATION_START: _model_names,
    pb.EVENT_TYPE_TOOL_CALL_START: _tool_names,
}


def _recovered(start_type: int, content: tuple[str, ...]) -> Recovered:
    if start_type == pb.EVENT_TYPE_MCP_CALL_START:
        name, url, operation, method = content
        return Recovered(mcp_server_name=name, mcp_server_url=url, mcp_operation=operation, mcp_method=method)
    if start_type == pb.EVENT_TYPE_MODEL_INVOCATION_START:
        return Recovered(model_provider=content[0], model=content[1])
    return Recovered(tool_name=content[0], function_name=content[1])
