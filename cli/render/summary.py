"""One event in a few words: what it is about, and what came of it. Pure; content is cleaned and cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaukas.spec.common.v1 import events_pb2

from cli.render import names
from cli.render.server_facts import ServerFacts
from cli.render.text import clean, dollars, duration, shorten

#: Longest text taken from one field of content, characters.
CUT = 80
#: Most keys of a state update that are read.
_STATE_KEYS = 8


def summary(event: events_pb2.Event, facts: ServerFacts) -> str:
    """What the event's content says, for example ``payments-mcp refund_charge`` or ``openai/gpt-4o-mini · 412 → 58 tokens``.

    A failed END lost its content to `error`; its name then comes from what the server recovered.
    """
    kind = event.WhichOneof("content")
    parts = [_lost_name(facts)] if kind == "error" else []
    if kind is not None:
        parts += _CONTENT[kind](getattr(event, kind))
    if event.HasField("retry"):
        parts += _retry(event.retry)
    if kind is None:
        parts.append(_metadata(event))
    if facts.cost_usd is not None:
        parts.append(dollars(facts.cost_usd))
    return " · ".join(part for part in (clean(shorten(part, CUT)) for part in parts) if part)


def kind_of(event: events_pb2.Event) -> str:
    """The event's family in lower case, START and END left out: ``mcp call``, ``model invocation``, ``session``."""
    name = names.short(names.EventType, event.type) or "unspecified"
    return name.removesuffix("_START").removesuffix("_END").replace("_", " ").lower()


def _lost_name(facts: ServerFacts) -> str:
    lost = facts.recovered
    for first, second, joint in (
        ("mcp_server_name", "mcp_operation", " "),
        ("model_provider", "model", "/"),
        ("tool_name", "", ""),
        ("function_name", "", ""),
    ):
        if lost.get(first) or lost.get(second):
            return joint.join(part for part in (lost.get(first), lost.get(second)) if part)
    return ""


def _metadata(event: events_pb2.Event) -> str:
    for key in ("message", "retry_reason"):
        if key in event.metadata.fields and event.metadata.fields[key].string_value:
            return str(event.metadata.fields[key].string_value)
    return ""


def _message(content: Any) -> list[str]:
    return [f"“{shorten(content.text, CUT - 2)}”"] if content.text else []


def _tool_call(content: Any) -> list[str]:
    return [content.name or content.function_name]


def _tool_response(content: Any) -> list[str]:
    return [content.error_message]


def _model(content: Any) -> list[str]:
    tokens = ""
    if content.prompt_tokens or content.completion_tokens:
        tokens = f"{content.prompt_tokens:,} → {content.completion_tokens:,} tokens"
    elif content.total_tokens:
        tokens = f"{content.total_tokens:,} tokens"
    return ["/".join(part for part in (content.provider, content.model) if part), tokens]


def _policy(content: Any) -> list[str]:
    return [content.policy_id, content.outcome, content.rationale]


def _data_access(content: Any) -> list[str]:
    documents = len(content.document_ids) or len(content.chunk_ids)
    pii = f"PII: {', '.join(content.pii_categories)}" if content.pii_categories else ""
    return [content.datasource, f"{documents} document{'' if documents == 1 else 's'}" if documents else "", pii]


def _state(content: Any) -> list[str]:
    return [", ".join(_assignment(key, content.fields[key]) for key in sorted(content.fields)[:_STATE_KEYS])]


def _assignment(key: str, value: Any) -> str:
    match value.WhichOneof("kind"):
        case "string_value":
            return f"{key} = {value.string_value}"
        case "number_value":
            return f"{key} = {value.number_value:g}"
        case "bool_value":
            return f"{key} = {str(value.bool_value).lower()}"
        case _:
            return key


def _error(content: Any) -> list[str]:
    return [content.error_code, content.error_message]


def _handoff(content: Any) -> list[str]:
    source = content.from_agent_name or content.from_agent_id or "?"
    target = content.to_agent_name or content.to_agent_id or "?"
    return [f"{source} → {target}", content.reason]


def _mcp(content: Any) -> list[str]:
    return [" ".join(part for part in (content.server_name, content.operation) if part)]


def _retry(content: Any) -> list[str]:
    backoff = f"after {duration(content.backoff_ms)}" if content.backoff_ms else ""
    return [f"attempt {content.attempt}", content.strategy, backoff]


_CONTENT: dict[str, Callable[[Any], list[str]]] = {
    "message": _message,
    "tool_call": _tool_call,
    "tool_response": _tool_response,
    "llm_invocation": _model,
    "policy": _policy,
    "data_access": _data_access,
    "state_update": _state,
    "error": _error,
    "agent_handoff": _handoff,
    "mcp_call": _mcp,
}
