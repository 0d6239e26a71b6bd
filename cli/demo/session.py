"""The demo session: a support case that two agents work on, as the real SDK reports it.

Told with ``chaukas-sdk``'s own client, tracer and event builder, over HTTP; only the models, tools and MCP servers are
played (by short real waits, so that durations are real too). In it: a hand-off to a second agent and its return, model calls
with tokens, tools, MCP calls of which one fails (and is retried) and one never ends, an error, a policy decision, access
to personal data. The SDK comes with the optional dependencies ``local``; this module imports it when it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cli.stack.endpoints import Endpoints

if TYPE_CHECKING:
    from chaukas.sdk.core.client import ChaukasClient
    from chaukas.sdk.core.event_builder import EventBuilder
    from chaukas.sdk.core.tracer import ChaukasTracer

TRIAGE = ("agent-triage", "triage")
BILLING = ("agent-billing", "billing")

#: How often an unsent queue is flushed again: a gateway that has just become ready may refuse its first request.
_FLUSHES = 5


class DemoFailed(Exception):
    """The session could not be sent; the message says why."""


@dataclass(frozen=True, slots=True)
class SentSession:
    """What was sent."""

    session_id: str
    event_ids: tuple[str, ...]


async def send_session(endpoints: Endpoints) -> SentSession:
    """Emit one fresh session to ``endpoints.http_url``; takes about a second. Raises :class:`DemoFailed`."""
    with sdk(endpoints) as (client, builder, tracer), _sdk_errors() as errors:
        story = Story(client, builder, tracer)
        async with client:
            await story.tell()
            for attempt in range(_FLUSHES):
                errors.clear()
                await client.flush()
                if not errors:
                    break
                await asyncio.sleep(0.5 * (attempt + 1))
        if errors:
            raise DemoFailed(f"the SDK could not send the session to {endpoints.http_url}: {errors[-1]}")
        return SentSession(story.session_id, tuple(story.event_ids))


@contextlib.contextmanager
def sdk(endpoints: Endpoints) -> Iterator[tuple[ChaukasClient, EventBuilder, ChaukasTracer]]:
    """The SDK's client, builder and tracer for `endpoints`.

    Importing the SDK loads a ``.env`` file into the environment, and the builder reads a configuration that is global to
    the process: both are put back.
    """
    before = dict(os.environ)
    try:
        from chaukas.sdk.core.client import ChaukasClient
        from chaukas.sdk.core.config import ChaukasConfig, reset_config, set_config
        from chaukas.sdk.core.event_builder import EventBuilder
        from chaukas.sdk.core.tracer import ChaukasTracer
    except ImportError as error:
        raise DemoFailed(f"the demo needs the optional dependencies `local` ({error})") from None
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
    config = ChaukasConfig(
        tenant_id=endpoints.tenant_id,
        project_id=endpoints.project_id,
        endpoint=endpoints.http_url,
        api_key=endpoints.api_key,
        tags=["demo"],
    )
    set_config(config)
    try:
        client = ChaukasClient(config=config)
        yield client, EventBuilder(), ChaukasTracer(client=client)
    finally:
        reset_config()


@contextlib.contextmanager
def _sdk_errors() -> Iterator[list[str]]:
    """What the SDK's client logs as errors: it re-queues what it could not send, and raises nothing."""
    messages: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, handler = logging.getLogger("chaukas.sdk.core.client"), Collect(logging.ERROR)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


async def _work(ms: int) -> None:
    await asyncio.sleep(ms / 1000)


@dataclass(slots=True)
class Story:
    client: ChaukasClient
    builder: EventBuilder
    tracer: ChaukasTracer
    session_id: str = ""
    event_ids: list[str] = field(default_factory=list)

    async def tell(self) -> None:
        self.session_id = self.tracer.start_session()
        self.tracer.start_trace()
        # The SDK's integrations report the input before the session's start; so does this one.
        await self.emit(self.builder.create_input_received("I was charged twice for order 1042!", source="chat"))
        start = self.builder.create_session_start(session_id=self.session_id, metadata={"channel": "chat"})
        await self.emit(start)
        with self.below(start):
            await self.triage()
            await self.billing()
            await self.answer()
        await self.emit(self.builder.create_session_end(session_id=self.session_id))

    async def triage(self) -> None:
        async with self.agent(TRIAGE, role="first line of support"):
            await self.model(TRIAGE, "openai", "gpt-4o-mini", "Double charge: find the customer.", (412, 38), 62)
            await self.tool(TRIAGE, "lookup_customer", {"order": "1042"}, {"customer": "C-7"}, 21)
            await self.emit(
                self.builder.create_data_access(
                    "crm.customers", document_ids=["C-7"], pii_categories=["email", "address"], **who(TRIAGE)
                )
            )
            await self.hand_off(TRIAGE, BILLING, "refund needs billing rights")
        await _work(18)  # the time until the other agent picks the work up

    async def billing(self) -> None:
        async with self.agent(BILLING, role="refunds and invoices"):
            await self.mcp(BILLING, "payments-mcp", "list_charges", {"charges": 2}, 44)
            await self.model(
                BILLING, "anthropic", "claude-haiku-4-5", "Two equal charges: refund one.", (1286, 94), 118
            )
            await self.emit(
                self.builder.create_policy_decision(
                    "refund-limit", "allow", ["max-100-eur"], rationale="49 EUR is below the limit", **who(BILLING)
                )
            )
            await self.mcp(BILLING, "payments-mcp", "refund", None, 87, error="rate limited by the provider")
            await self.emit(
                self.builder.create_error(
                    "refund was refused: too many requests",
                    error_code="429",
                    recoverable=True,
                    recovery_action="retry",
                    **who(BILLING),
                )
            )
            await self.emit(self.builder.create_retry(1, "exponential", 60, reason="rate limited", **who(BILLING)))
            await _work(60)
            await self.mcp(BILLING, "payments-mcp", "refund", {"refund": "R-311"}, 53)
            # The ledger takes the entry and never answers: this call has no END.
            await self.emit(self.mcp_start(BILLING, "ledger-mcp", "post_entry"))
            await self.hand_off(BILLING, TRIAGE, "refund done, tell the customer")
        await _work(9)

    async def answer(self) -> None:
        async with self.agent(TRIAGE, role="first line of support"):
            await self.model(TRIAGE, "openai", "gpt-4o-mini", "Write a short confirmation.", (634, 71), 71)
            await self.tool(TRIAGE, "send_email", {"to": "C-7"}, {"queued": True}, 12)
            await self.emit(self.builder.create_state_update({"case": "closed", "refund": "R-311"}, **who(TRIAGE)))
            await self.emit(
                self.builder.create_output_emitted("One of the two charges is refunded.", target="chat", **who(TRIAGE))
            )

    async def emit(self, event: Any) -> None:
        self.event_ids.append(event.event_id)
        await self.client.send_event(event)

    @contextlib.contextmanager
    def below(self, event: Any) -> Iterator[None]:
        """What is emitted inside has `event`'s span as its parent."""
        token = self.tracer.set_parent_span_context(event.span_id)
        try:
            yield
        finally:
            self.tracer.reset_parent_span_context(token)

    @contextlib.asynccontextmanager
    async def agent(self, agent: tuple[str, str], role: str) -> AsyncIterator[None]:
        start = self.builder.create_agent_start(*agent, role=role)
        await self.emit(start)
        with self.below(start):
            yield
        await self.emit(self.builder.create_agent_end(*agent, span_id=start.span_id))

    async def hand_off(self, source: tuple[str, str], target: tuple[str, str], reason: str) -> None:
        await self.emit(self.builder.create_agent_handoff(*source, *target, reason=reason, handoff_type="transfer"))

    async def model(
        self, agent: tuple[str, str], provider: str, model: str, text: str, tokens: tuple[int, int], ms: int
    ) -> None:
        messages = [{"role": "user", "content": text}]
        start = self.builder.create_model_invocation_start(provider, model, messages, temperature=0.2, **who(agent))
        await self.emit(start)
        await _work(ms)
        await self.emit(
            self.builder.create_model_invocation_end(
                provider,
                model,
                response_content=text,
                finish_reason="stop",
                prompt_tokens=tokens[0],
                completion_tokens=tokens[1],
                total_tokens=sum(tokens),
                duration_ms=ms,
                span_id=start.span_id,
                **who(agent),
            )
        )

    async def tool(self, agent: tuple[str, str], name: str, arguments: Any, output: Any, ms: int) -> None:
        start = self.builder.create_tool_call_start(name, arguments, **who(agent))
        await self.emit(start)
        await _work(ms)
        await self.emit(
            self.builder.create_tool_call_end(
                name,
                call_id=start.tool_call.id,
                output=output,
                execution_time_ms=ms,
                span_id=start.span_id,
                **who(agent),
            )
        )

    def mcp_start(self, agent: tuple[str, str], server: str, operation: str) -> Any:
        return self.builder.create_mcp_call_start(
            server, f"https://{server}.example/mcp", operation, "tools/call", {"order": "1042"}, **who(agent)
        )

    async def mcp(
        self, agent: tuple[str, str], server: str, operation: str, response: Any, ms: int, error: str | None = None
    ) -> None:
        start = self.mcp_start(agent, server, operation)
        await self.emit(start)
        await _work(ms)
        # With `error` the SDK's event loses its mcp_call (one oneof holds both): the processors recover it from START.
        await self.emit(
            self.builder.create_mcp_call_end(
                server,
                f"https://{server}.example/mcp",
                operation,
                "tools/call",
                response or {},
                execution_time_ms=ms,
                error=error,
                span_id=start.span_id,
                **who(agent),
            )
        )


def who(agent: tuple[str, str]) -> dict[str, str]:
    return {"agent_id": agent[0], "agent_name": agent[1]}
