"""A refused call lets go of its request at once: what a stranger sends must not wait for the garbage collector."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from typing import Any, cast

import grpc.aio

from contracts.errors import InvalidInput
from gateway.access import Access
from gateway.admission import Admission
from gateway.auth import Authenticator
from gateway.draining import Draining
from gateway.grpc_server import GrpcDoor
from gateway.metrics import GatewayMetrics
from gateway.quotas import QuotaRules, Quotas
from runtime.settings import GatewaySettings, load


class Message(list[int]):
    """Stands for bytes, which nobody can refer to weakly."""


class Context:
    """As grpc's: what ends a call is kept with the call's state, which its own frames hold."""

    def __init__(self) -> None:
        self.message = Message([255])
        self.kept: BaseException | None = None

    def invocation_metadata(self) -> tuple[()]:
        return ()

    async def abort_with_status(self, status: Any) -> None:
        self.kept = grpc.aio.AbortError(status.details)
        raise self.kept


def test_a_refused_message_is_gone_when_its_call_is_over() -> None:
    async def run() -> None:
        settings, metrics, draining = load(GatewaySettings), GatewayMetrics(), Draining()
        others = cast(Any, None)
        admission = Admission(1 << 20, metrics)
        quotas = Quotas(QuotaRules(), metrics)
        door = GrpcDoor(settings, Authenticator([]), admission, others, others, metrics, draining, quotas)
        context = Context()

        async def handler(*_: object) -> bytes:
            message = context.message
            del context.message
            raise InvalidInput.of("", f"{len(message)} bytes that are none")

        gone = weakref.ref(context.message)
        with contextlib.suppress(grpc.aio.AbortError):
            await door._answered("Service", "IngestEvent", Access.PUBLIC, handler)(None, context)
        assert context.kept is not None
        assert gone() is None

    gc.disable()
    try:
        asyncio.run(run())
    finally:
        gc.enable()
