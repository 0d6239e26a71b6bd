"""Retention and legal holds of a running sink: its service, and the commands that call it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from grpc.aio import insecure_channel
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner, Result

from cli.main import app
from contracts.identity import ADMIN_TOKEN_METADATA, IDENTITY_METADATA, INTERNAL_TOKEN_METADATA, Identity, Scope
from contracts.v1 import store_admin_pb2 as messages
from contracts.v1 import store_admin_pb2_grpc
from runtime.health import Readiness
from runtime.settings import InvalidSettings, SinkSettings, load
from sink import retention
from sink.query.server import serve
from sink.retention import Hold, Retention
from sink.store import Store
from sink.store_admin import StoreAdmin
from tests.support.events import event
from tests.support.stored import Copy, insert_copies

SERVED = load(SinkSettings, grpc_port=0, token="between-us", admin_token="operators-only")
OPERATOR = ((ADMIN_TOKEN_METADATA, "operators-only"),)


@pytest.fixture(autouse=True)
def nothing_set(store: Store) -> Iterator[None]:
    for table in ("retention", "legal_holds"):
        store.writer.command(f"TRUNCATE TABLE {table}")
    yield


@asynccontextmanager
async def served(store: Store, settings: SinkSettings = SERVED) -> AsyncIterator[tuple[Any, int]]:
    server = await serve(store, settings, Readiness(), CollectorRegistry(), StoreAdmin(store, "", 0))
    try:
        async with insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield store_admin_pb2_grpc.StoreAdminServiceStub(channel), server.port  # type: ignore[no-untyped-call]
    finally:
        await server.stop(0)


def days_ago(days: float) -> int:
    return int((datetime.now(UTC) - timedelta(days=days)).timestamp() * 10**9)


def fill(store: Store) -> None:
    for number, (tenant, session) in enumerate([("t", "kept"), ("t", "gone"), ("u", "gone")]):
        made = event(tenant=tenant, session=session, event_id=f"{tenant}-{session}", at_ns=days_ago(400))
        insert_copies(store, [Copy(made, 0, number, days_ago(400))])


def left(store: Store) -> list[str]:
    rows = store.writer.query("SELECT event_id FROM events FINAL ORDER BY event_id").result_rows
    return [event_id for (event_id,) in rows]


async def refused(call: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return caught.value


class Commands:
    """The console script against one sink, as an operator types it."""

    def __init__(self, port: int, token: str = "operators-only") -> None:
        self._environment = {"GATEWAY_SINK_TARGET": f"127.0.0.1:{port}", "SINK_ADMIN_TOKEN": token}

    async def __call__(self, *arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, arguments, env=self._environment)

    async def prints(self, *arguments: str) -> str:
        result = await self(*arguments)
        assert result.exit_code == 0, result.output
        return result.output


async def test_the_commands_do_it_all_while_the_sink_serves(store: Store) -> None:
    fill(store)
    async with served(store) as (_, port):
        do = Commands(port)
        assert "for ever" in await do.prints("retention", "show")
        await do.prints("retention", "set", "300")
        await do.prints("retention", "set", "500", "--tenant", "u")
        await do.prints("hold", "add", "t", "--session", "kept", "--reason", "case 7")
        assert left(store) == ["t-gone", "t-kept", "u-gone"], "nothing is deleted before a run"
        shown = await do.prints("retention", "show", "--json")
        assert '"default_days":300' in shown
        assert '{"tenant_id":"u","days":500}' in shown
        assert "case 7" in await do.prints("hold", "list")
        assert "events: 1 rows deleted" in await do.prints("retention", "run")
        assert left(store) == ["t-kept", "u-gone"]
        await do.prints("hold", "remove", "t", "--session", "kept")
        again = await do("hold", "remove", "t", "--session", "kept")
        assert (again.exit_code, "no such hold" in again.output) == (3, True)
        assert "nothing is held" in await do.prints("hold", "list")
        await do.prints("retention", "run")
        assert left(store) == ["u-gone"]


GATEWAY = (
    (INTERNAL_TOKEN_METADATA, "between-us"),
    (IDENTITY_METADATA, Identity("t", None, frozenset(Scope)).to_metadata()),
)


@pytest.mark.parametrize(
    "shown", [(), GATEWAY, ((ADMIN_TOKEN_METADATA, "between-us"),), (*GATEWAY, (ADMIN_TOKEN_METADATA, ""))]
)
async def test_only_an_operator_is_heard(store: Store, shown: Any) -> None:
    """Whatever an API key or the gateway may do, this they may not."""
    fill(store)
    store.writer.insert("retention", [["", 1]], column_names=["tenant_id", "days"])
    async with served(store) as (stub, _):
        for method, answer in StoreAdmin(store, "", 0).methods().items():
            error = await refused(getattr(stub, method)(answer[0](), metadata=shown))
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED, method
    assert len(left(store)) == 3


async def test_without_a_token_there_is_no_administration(store: Store) -> None:
    async with served(store, load(SinkSettings, grpc_port=0, token="between-us", admin_token="")) as (stub, _):
        error = await refused(stub.ListHolds(messages.ListHoldsRequest(), metadata=((ADMIN_TOKEN_METADATA, ""),)))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "SINK_ADMIN_TOKEN" in error.details()


async def test_the_gateways_token_is_no_admin_token(store: Store) -> None:
    with pytest.raises(InvalidSettings, match="SINK_ADMIN_TOKEN"):
        async with served(store, load(SinkSettings, grpc_port=0, token="same", admin_token="same")):
            pass


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("SetRetention", messages.SetRetentionRequest(days=-1), "days"),
        ("SetRetention", messages.SetRetentionRequest(days=100_001), "days"),
        ("SetRetention", messages.SetRetentionRequest(tenant_id="a\n"), "tenant_id"),
        ("AddHold", messages.AddHoldRequest(session_id="s"), "tenant_id"),
        ("AddHold", messages.AddHoldRequest(tenant_id="t", session_id="x" * 257), "session_id"),
        ("AddHold", messages.AddHoldRequest(tenant_id="t", reason="x" * 4097), "reason"),
        ("RemoveHold", messages.RemoveHoldRequest(tenant_id="t"), "tenant_id"),
        ("Erase", messages.EraseRequest(session_id="s"), "tenant_id"),
        ("Erase", messages.EraseRequest(tenant_id="t"), "session_id"),
        ("Erase", messages.EraseRequest(tenant_id="t", session_id="s", subject="x"), "session_id"),
        ("Erase", messages.EraseRequest(tenant_id="t", subject="x" * 1025), "subject"),
        ("Erase", messages.EraseRequest(tenant_id="t", session_id="s", reason="x" * 4097), "reason"),
    ],
)
async def test_mistakes_name_their_field(store: Store, method: str, request_: Any, field: str) -> None:
    async with served(store) as (stub, _):
        error = await refused(getattr(stub, method)(request_, metadata=OPERATOR))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert field in error.details()
        assert not (await stub.ListHolds(messages.ListHoldsRequest(), metadata=OPERATOR)).holds
        assert not (await stub.GetRetention(messages.GetRetentionRequest(), metadata=OPERATOR)).tenants


class Watched:
    """A lock that says when somebody asks for it a second time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = 0
        self.again = threading.Event()

    def __enter__(self) -> None:
        self._asked += 1
        if self._asked == 2:
            self.again.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_a_hold_waits_for_a_run_that_began_before(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would be told that it is kept what is just being deleted."""
    fill(store)
    inside, go_on, held = threading.Event(), threading.Event(), threading.Event()
    lock = Watched()
    monkeypatch.setattr(retention, "RUNS", lock)
    parameters = Retention._parameters

    def slow(self: Retention, *arguments: Any) -> Any:
        made = parameters(self, *arguments)
        inside.set()
        assert go_on.wait(20)
        return made

    monkeypatch.setattr(retention.Retention, "_parameters", slow)
    run = threading.Thread(target=lambda: Retention(store.writer, "", 30).run())

    def add() -> None:
        Retention(store.settler).hold(Hold("t", "kept"))
        held.set()

    hold = threading.Thread(target=add)
    run.start()
    assert inside.wait(20)
    hold.start()
    assert lock.again.wait(20)
    assert not held.is_set()
    go_on.set()
    run.join(20)
    assert held.wait(20)
    assert Retention(store.settler).holds()[0].session_id == "kept"


async def test_a_sink_that_is_away_is_said_so_in_one_line(store: Store) -> None:
    result = await Commands(1)("retention", "show")
    assert result.exit_code == 3
    assert "no sink answers at 127.0.0.1:1" in result.output
    async with served(store) as (_, port):
        result = await Commands(port, token="wrong")("hold", "list")
    assert result.exit_code == 3
    assert "UNAUTHENTICATED" in result.output
