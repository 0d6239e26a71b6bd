"""The query server lets tenants take turns: what a noisy one has running and waiting does not hold up another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
import pytest
from chaukas.spec.server.v1 import server_pb2, server_pb2_grpc
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from google.rpc import error_details_pb2, status_pb2
from grpc.aio import insecure_channel
from prometheus_client import CollectorRegistry

from contracts.identity import IDENTITY_METADATA, INTERNAL_TOKEN_METADATA, Identity, Scope
from runtime.health import Readiness
from runtime.settings import SinkSettings, load
from sink.query.server import serve

T = TypeVar("T")
SETTINGS = load(SinkSettings, grpc_port=0, token="between-us", query_clients=4, query_tenant_waiting=20)


class Busy:
    """A store whose reads take until they are let go."""

    def __init__(self) -> None:
        self.began: asyncio.Queue[None] = asyncio.Queue()
        self.go_on = asyncio.Event()

    async def read(self, job: Callable[[Client], T]) -> T:
        self.began.put_nowait(None)
        await self.go_on.wait()
        raise DatabaseError("Code: 158.", code=158)

    async def stop(self, tag: str, ended: threading.Event) -> None:
        ended.set()


async def test_a_noisy_tenant_does_not_hold_up_another() -> None:
    store = Busy()
    server = await serve(store, SETTINGS, Readiness(), CollectorRegistry())
    try:
        async with insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = server_pb2_grpc.ChaukasServerServiceStub(channel)

            def ask(tenant: str) -> Any:
                caller = Identity(tenant, None, frozenset({Scope.QUERY})).to_metadata()
                metadata = ((INTERNAL_TOKEN_METADATA, "between-us"), (IDENTITY_METADATA, caller))
                return stub.GetEventStats(server_pb2.GetEventStatsRequest(), metadata=metadata, timeout=30)

            async def hint(call: Any) -> bool:
                """Ends with the refused call; whether it was told when to come again."""
                with pytest.raises(grpc.RpcError) as caught:
                    await call
                error: Any = caught.value
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                trailers = dict(error.trailing_metadata())
                status = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
                return any(detail.Unpack(error_details_pb2.RetryInfo()) for detail in status.details)

            noisy = {asyncio.ensure_future(hint(ask("noisy"))) for _ in range(30)}
            refused = 0
            while refused < 7:  # 3 run and 20 wait
                done, noisy = await asyncio.wait(noisy, return_when=asyncio.FIRST_COMPLETED, timeout=20)
                assert done
                assert all(task.result() for task in done)
                refused += len(done)
            for _ in range(3):
                await store.began.get()
            assert store.began.empty(), "one client is left"
            quiet = asyncio.ensure_future(hint(ask("quiet")))
            await store.began.get()
            store.go_on.set()
            assert not await quiet
            assert not any(await asyncio.gather(*noisy)), "the store's own word: everybody's turn came"
            assert len(noisy) == store.began.qsize() + 3
    finally:
        await server.stop(0)
