"""Servers that do nothing with what they are sent, as a process of their own: the floors under both doors.

``python -m benchmarks.load.nothing`` prints its two ports as JSON and serves until its standard input ends. grpc.aio on uvloop
with the gateway's own channel arguments, and the gateway's own uvicorn; the request's bytes are taken and a constant answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, cast

import grpc
import grpc.aio
import uvloop
from chaukas.spec.server.v1 import server_pb2

from gateway.grpc_options import server_options
from gateway.grpc_server import SERVER_SERVICE
from runtime.http import Receive, Scope, Send, embedded, listen, respond
from runtime.settings import GatewaySettings, load

BATCH_ANSWER: bytes = server_pb2.IngestEventBatchResponse(batch_id="b" * 22, accepted_count=100).SerializeToString()
SINGLE_ANSWER: bytes = server_pb2.IngestEventResponse(
    event_id="e" * 36, status="accepted", processed_at=1
).SerializeToString()
HTTP_ANSWER = b'{"batch_id":"bbbbbbbbbbbbbbbbbbbbbb","accepted_count":20,"rejected_count":0,"rejected_event_ids":[],"rejected":[]}'


async def _batch(request: bytes, context: Any) -> bytes:
    return BATCH_ANSWER


async def _single(request: bytes, context: Any) -> bytes:
    return SINGLE_ANSWER


async def _http(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body", False):
        pass
    await respond(send, 202, HTTP_ANSWER)


async def _serve() -> None:
    server = cast(Any, grpc.aio).server(options=server_options(load(GatewaySettings)))
    methods = {
        "IngestEventBatch": grpc.unary_unary_rpc_method_handler(_batch),
        "IngestEvent": grpc.unary_unary_rpc_method_handler(_single),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVER_SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sock = listen("127.0.0.1", 0)
    http = embedded(_http)
    serving = asyncio.create_task(http.serve(sockets=[sock]))
    print(json.dumps({"grpc": port, "http": sock.getsockname()[1]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)
    http.should_exit = True
    await serving


if __name__ == "__main__":
    uvloop.run(_serve())
