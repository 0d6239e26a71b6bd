"""Gives the tests' seeded events the fields and the size that events of the SDK have: about 600 bytes."""

from __future__ import annotations

import random
from uuid import NAMESPACE_OID, UUID, uuid5

from chaukas.spec.common.v1 import events_pb2 as pb

_PROMPT = "You are a helpful assistant for customers of a shop. Answer in one paragraph, and never promise a refund. "
_ANSWER = "The order was shipped on Monday and arrives within three days; a refund is possible after its return."


def fleshed_out(event: pb.Event, rng: random.Random) -> pb.Event:
    """`event` itself, with parents, authors, metadata, requests and responses as the SDK fills them in."""
    event.parent_span_id = str(UUID(int=rng.getrandbits(128), version=4))
    event.trace_id = str(uuid5(NAMESPACE_OID, event.session_id))
    event.author = pb.AUTHOR_AGENT
    event.severity = event.severity or pb.SEVERITY_INFO
    event.metadata.update({"sdk": "python", "host": f"worker-{rng.randrange(9)}", "attempt": 1, "input": _PROMPT})
    kind = event.WhichOneof("content")
    if kind == "llm_invocation":
        call = event.llm_invocation
        call.request.update({"messages": [{"role": "system", "content": _PROMPT}], "temperature": 0.2})
        if call.completion_tokens:
            call.response.update({"content": _ANSWER, "finish_reason": "stop"})
    elif kind == "mcp_call":
        event.mcp_call.server_url = f"https://mcp.example/{event.mcp_call.server_name}"
        event.mcp_call.request.update({"name": "refund", "arguments": {"order": "1042", "reason": _ANSWER}})
    elif kind == "tool_response":
        event.tool_response.output.update({"output": {"customer": "C-7", "note": _ANSWER}})
    elif kind == "message":
        event.message.text = _PROMPT + _ANSWER
    return event
