"""What strangers send does not end the server, and is answered as the mistake it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc
import pytest
from grpc._cython import cygrpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from runtime.grpc_server import _CallLoop, grpc_server
from tests.fuzz.http2_client import Http2Client, call_headers

EMPTY = b"\x00\x00\x00\x00\x00"
NONSENSE = b"\x00\x00\x00\x00\x03\x0a\x01\xff"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = grpc_server((("grpc.so_reuseport", 0),), 100)

    async def echo(request: bytes, context: object) -> bytes:
        return request

    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", handlers),))
    probe = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs lack it
    health_pb2_grpc.add_HealthServicer_to_server(probe, server)
    reflection.enable_server_reflection((reflection.SERVICE_NAME,), server)
    found = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield found
    await server.stop(0)


async def call(port: int, path: bytes, data: bytes = EMPTY, *, ends: bool = True) -> str:
    client = await Http2Client.connect(port)
    try:
        async with asyncio.timeout(10):
            return await client.call(call_headers(path, []), data, ends=ends)
    finally:
        client.close()


def test_grpc_has_what_the_server_is_made_of() -> None:
    """The internals that runtime/grpc_server.py relies on."""
    names = {"_make_request_call_future", "_request_call", "_request_registered_call", "add_registered_method_handlers"}
    assert names <= set(dir(cygrpc.AioServer))
    assert {"_MethodResolver", "_handle_rpc", "_schedule_rpc_coro", "get_working_loop"} <= set(dir(cygrpc))
    assert grpc.method_handlers_generic_handler("a.B", {"C": None})._method_handlers == {"/a.B/C": None}  # type: ignore[attr-defined,dict-item]


@pytest.mark.parametrize("path", [b"/\xff/x", b"/a.B/Echo\xed\xa0\x80", b"\xfe", b"/a.B/\x80"])
async def test_a_path_that_is_no_text_ends_its_call_and_nothing_else(port: int, path: bytes) -> None:
    client = await Http2Client.connect(port)
    async with asyncio.timeout(10):
        beside = asyncio.create_task(client.call(call_headers(b"/a.B/Echo", []), EMPTY))
        assert await client.call(call_headers(path, []), EMPTY) == "UNIMPLEMENTED"
        assert await beside == "OK"
        assert await client.call(call_headers(b"/a.B/Echo", []), EMPTY) == "OK"
    client.close()
    assert await call(port, b"/a.B/Echo") == "OK"


async def test_many_of_them_at_once(port: int) -> None:
    client = await Http2Client.connect(port)
    async with asyncio.timeout(20):
        ended = await asyncio.gather(*(client.call(call_headers(b"/\xff", []), EMPTY) for _ in range(300)))
    assert set(ended) == {"UNIMPLEMENTED"}
    client.close()
    assert await call(port, b"/a.B/Echo") == "OK"


@pytest.mark.parametrize(
    "path",
    [
        b"/grpc.health.v1.Health/Check",
        b"/grpc.health.v1.Health/Watch",
        b"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
async def test_what_is_no_request_is_an_invalid_argument(
    port: int, path: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert await call(port, path, NONSENSE) == "INVALID_ARGUMENT"
    assert caplog.text == ""


@pytest.mark.parametrize("path", [b"/a.B/Echo", b"/grpc.health.v1.Health/Check", b"/grpc.health.v1.Health/Watch"])
@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x00\x00\x00\x05ab"])
async def test_a_call_without_a_whole_message_is_answered(port: int, path: bytes, data: bytes) -> None:
    assert await call(port, path, data) in ("INVALID_ARGUMENT", "INTERNAL")  # INTERNAL: core says that it is cut off


async def test_a_caller_that_goes_away_is_no_mistake(port: int) -> None:
    client = await Http2Client.connect(port)
    async with asyncio.timeout(10):
        assert await client.call(call_headers(b"/a.B/Echo", []), EMPTY[:3], ends=False, resets=True) == "RESET"
        assert await client.call(call_headers(b"/a.B/Echo", []), EMPTY) == "OK"
    client.close()


async def test_what_a_reset_call_waits_for_ends_by_itself_and_its_handler_is_cancelled_then() -> None:
    """A handler that is cancelled inside grpc's code for a batch leaves behind what the batch was allocated."""
    server = grpc_server(())
    seen: list[object] = []
    over = asyncio.Event()

    async def read(_: object, context: Any) -> bytes:
        try:
            seen.append(await context.read())
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            over.set()
        return b""

    handlers = {"Read": grpc.stream_unary_rpc_method_handler(read)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = await Http2Client.connect(port)
    async with asyncio.timeout(10):
        for _ in range(20):
            over.clear()
            ended = await client.call(call_headers(b"/a.B/Read", []), EMPTY[:3], ends=False, resets=True)
            assert ended == "RESET"
            await over.wait()
    client.close()
    await server.stop(0)
    assert seen == [cast(Any, grpc.aio).EOF, "cancelled"] * 20


async def test_what_grpc_finds_done_in_another_loops_thread_is_handed_over() -> None:
    loop = asyncio.get_running_loop()
    called: list[int] = []
    calls = _CallLoop(loop)
    calls.call_soon_threadsafe(called.append, 1)
    assert called == [1]
    await asyncio.to_thread(calls.call_soon_threadsafe, called.append, 2)
    await asyncio.sleep(0)
    assert called == [1, 2]


async def test_calls_beyond_the_limit_are_refused_and_those_before_it_end() -> None:
    server = grpc_server((), 2)
    release, running = asyncio.Event(), asyncio.Semaphore(0)

    async def wait(request: bytes, context: object) -> bytes:
        running.release()
        await release.wait()
        return request

    handlers = {"Wait": grpc.unary_unary_rpc_method_handler(wait)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = await Http2Client.connect(port)
    held = [asyncio.create_task(client.call(call_headers(b"/a.B/Wait", []), EMPTY)) for _ in range(2)]
    async with asyncio.timeout(10):
        for _ in held:
            await running.acquire()
        assert await client.call(call_headers(b"/a.B/Wait", []), EMPTY) == "RESOURCE_EXHAUSTED"
        stopping = asyncio.create_task(server.stop(5))
        release.set()
        assert await asyncio.gather(*held) == ["OK", "OK"]
        await stopping
    client.close()


async def test_the_services_themselves_answer(port: int) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        from grpc_health.v1 import health_pb2

        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=""))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        async for update in stub.Watch(health_pb2.HealthCheckRequest(service="unknown")):
            assert update.status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            break
    reflect = b"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    assert await call(port, reflect, b"\x00\x00\x00\x00\x02\x3a\x00") == "OK"
