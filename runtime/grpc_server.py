"""grpc.aio's server, kept alive and quiet under what strangers send. For every process that serves gRPC.

Seen in grpcio 1.85, with nothing but a connection, no key (docs/adr/0034):

- a ``:path`` that is no UTF-8 ends the loop that takes calls, and the server with it (1.83 answered UNKNOWN, 1.84 began it);
- a request of the health and reflection services that does not parse is answered UNKNOWN, with a traceback in the log;
- a unary call that ends without a message is never answered: it stays for as long as its connection.

- a batch of operations that fails or whose call is cancelled is not cleaned up: some hundred bytes stay for every stream that a
  caller resets.

Here every method is registered with grpc's core, which compares bytes; whatever is called beside them is answered UNIMPLEMENTED
and its name never read. Unary methods are registered as taking a stream (the same on the wire) and read their message here. What does
not parse or does not come is INVALID_ARGUMENT. No batch fails or is left (:class:`_Batch`).

Relies on internals of grpcio, which is therefore pinned; ``tests/unit/runtime/test_grpc_server.py`` names them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc._cython import cygrpc
from grpc.aio import _server

Options = Sequence[tuple[str, int]]

#: Stands for a request that does not parse.
_UNREADABLE: Any = object()
_NO_REQUEST = "the bytes are not a request of this method"
_EOF = cast(Any, grpc.aio).EOF
#: How soon after the end of its stream grpc tells of a call that it was cancelled, seconds.
_CANCELLED_SECONDS = 0.05
#: A name that nothing is registered under.
_UNKNOWN = "/unknown/Unknown"


class _Batch(asyncio.Future[None]):
    """Operations of a call that grpc's core works on.

    grpc's code frees what it allocated for them when this is done, and not when it fails or its task is cancelled. So a failure is
    none: what was to be received is empty then, which is the end of the stream, and what was to be sent has nobody who waits.
    """

    def set_exception(self, exception: type[BaseException] | BaseException) -> None:
        self.set_result(None)


class _CallTask(asyncio.Task[None]):
    """A call's handler. It is cancelled when the batch is done that it waits for, and core ends those of a cancelled call at once."""

    def cancel(self, msg: Any | None = None) -> bool:
        waiter = cast(Any, self)._fut_waiter
        if not isinstance(waiter, _Batch):
            return super().cancel(msg)
        # The task goes on first, because it was the first to wait; what it waits for next is cancelled, or is a batch again.
        waiter.add_done_callback(lambda _: self.cancel(msg))
        return True


class _CallLoop:
    """The loop as grpc's code for a call sees it, which makes futures for batches only and tasks for handlers only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def create_future(self) -> _Batch:
        return _Batch(loop=self._loop)

    def create_task(self, coroutine: Coroutine[Any, Any, None], **options: Any) -> _CallTask:
        return _CallTask(coroutine, loop=self._loop, **options)

    def call_soon_threadsafe(self, callback: Callable[..., object], *arguments: object) -> None:
        """grpc tells by identity whether the loop that found a batch done is the one that waits for it."""
        if asyncio._get_running_loop() is self._loop:
            callback(*arguments)
        else:
            self._loop.call_soon_threadsafe(callback, *arguments)


class _Acceptor(cygrpc.AioServer):  # type: ignore[misc]  # grpcio ships no types for it
    """Takes calls in place of grpc's loop, which only waits for the end of these tasks: one per method, one for the rest."""

    def __init__(self, loop: Any, options: Any, methods: dict[str, Any], maximum_concurrent_rpcs: int | None) -> None:
        super().__init__(loop, None, (), (), options, None)
        self._own_loop = loop
        self._call_loop = _CallLoop(loop)
        self._resolver = cygrpc._MethodResolver([], methods)
        self._most = maximum_concurrent_rpcs
        #: Calls under way; kept, because the loop alone would not keep them alive.
        self._calls: set[asyncio.Task[None]] = set()

    def _make_request_call_future(self, method_bytes: bytes | None) -> asyncio.Task[None]:
        return cast("asyncio.Task[None]", self._own_loop.create_task(self._accept(method_bytes)))

    async def _accept(self, method: bytes | None) -> None:
        """Take calls of `method` (None: of all that are not registered) until the server shuts down, which raises."""
        name = _UNKNOWN if method is None else method.decode()
        while True:
            state = await (self._request_call() if method is None else self._request_registered_call(method))
            crowded = self._most is not None and len(self._calls) >= self._most
            handling = cygrpc._handle_rpc(name, self._resolver, (), state, self._call_loop, crowded)
            call = self._own_loop.create_task(cygrpc._schedule_rpc_coro(handling, state, self._call_loop, name))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)


class _Server(_server.Server):
    """``grpc.aio.Server`` around an :class:`_Acceptor`; the constructor is grpc's, as far as it is used here."""

    def __init__(self, options: Options, maximum_concurrent_rpcs: int | None) -> None:
        self._loop = cygrpc.get_working_loop()
        self._methods: dict[str, Any] = {}
        arguments = _server._augment_channel_arguments(tuple(options), None)
        self._server = _Acceptor(self._loop, arguments, self._methods, maximum_concurrent_rpcs)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        """Of ``grpc.method_handlers_generic_handler``, which says what methods there are."""
        for handler in generic_rpc_handlers:
            checked = {name: _checked(found) for name, found in handler._method_handlers.items()}
            self._methods |= checked
            self._server.add_registered_method_handlers(checked)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """Nothing: generated code gives the same handlers as generic ones, too."""


def grpc_server(options: Options, maximum_concurrent_rpcs: int | None = None) -> Any:
    """A ``grpc.aio.Server`` on the running loop. `maximum_concurrent_rpcs`: more are refused; None: no limit."""
    return _Server(options, maximum_concurrent_rpcs)


def _checked(handler: Any) -> Any:
    """`handler` with its requests read and parsed where an error can be answered."""
    parse = handler.request_deserializer
    deserializer, serializer = None if parse is None else _lenient(parse), handler.response_serializer
    if handler.unary_unary is not None:
        single = _single(handler.unary_unary)
        return grpc.stream_unary_rpc_method_handler(cast(Any, single), deserializer, serializer)
    if handler.unary_stream is not None:
        single = _single(handler.unary_stream)
        return grpc.stream_stream_rpc_method_handler(cast(Any, single), deserializer, serializer)
    if handler.stream_stream is not None:
        return grpc.stream_stream_rpc_method_handler(_stream(handler.stream_stream), deserializer, serializer)
    return handler  # it reads by itself


def _lenient(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def deserialize(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return _UNREADABLE

    return deserialize


async def _refuse(context: Any, why: str) -> None:
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, why)


def _single(behaviour: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """For one request. `behaviour` is a coroutine that returns the answer, or writes answers to the context."""

    async def answer(_: object, context: Any) -> Any:
        request = await context.read()
        if request is _EOF:
            await asyncio.sleep(_CANCELLED_SECONDS)  # a caller that went away: this task is cancelled meanwhile
            await _refuse(context, "the call holds no message")
        if request is _UNREADABLE:
            await _refuse(context, _NO_REQUEST)
        return await behaviour(request, context)

    return answer


def _stream(behaviour: Callable[[Any, Any], AsyncIterator[Any]]) -> Callable[[Any, Any], Any]:
    async def requests(given: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in given:
            if request is _UNREADABLE:
                await _refuse(context, _NO_REQUEST)
            yield request

    async def answer(given: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for response in behaviour(requests(given, context), context):
            yield response

    return answer
