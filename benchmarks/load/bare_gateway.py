"""gRPC or HTTP and Kafka's client library alone: what a durable event costs before anything is looked at, as a process of its own.

``python -m benchmarks.load.bare_gateway BOOTSTRAP TOPIC`` prints its ports as JSON and serves until its standard input ends. The
request's bytes are taken and not looked at; records made beforehand, as many and as large, with the gateway's key, headers and
settings, are produced; the answer waits for the report of each.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from itertools import cycle
from typing import Any, cast

import grpc
import grpc.aio
import uvloop

from benchmarks.load import SDK_BATCH
from benchmarks.load.nothing import BATCH_ANSWER, HTTP_ANSWER, SINGLE_ANSWER
from benchmarks.load.requests import pool
from contracts import headers as h
from contracts.topics import RAW_MAX_BYTES
from contracts.wire import parse_events, slice_batch
from gateway.grpc_options import server_options
from gateway.grpc_server import SERVER_SERVICE
from runtime.http import Receive, Scope, Send, embedded, listen, respond
from runtime.kafka import durable_producer, producer_config
from runtime.settings import GatewaySettings, KafkaSettings, load

GRPC_BATCH = 100
_REPORTS_SECONDS = 0.001

Record = tuple[bytes, str, dict[str, str | bytes | None]]


class BareGateway:
    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        settings = load(GatewaySettings)
        kafka = load(KafkaSettings, bootstrap_servers=bootstrap_servers)
        self._producer = durable_producer(
            producer_config(
                kafka,
                max_message_bytes=RAW_MAX_BYTES,
                delivery_seconds=settings.delivery_seconds,
                linger_ms=settings.linger_ms,
            )
        )
        self._topic = topic
        batches = [_records(request) for request in pool("bench", "bench", GRPC_BATCH)]
        self._batches = cycle(batches)
        self._sdk_batches = cycle([batch[:SDK_BATCH] for batch in batches])
        self._singles = cycle([[record] for batch in batches for record in batch])
        self._loop = asyncio.get_running_loop()
        self._take_reports()

    async def batch(self, request: bytes, context: Any) -> bytes:
        await self._produce(next(self._batches))
        return BATCH_ANSWER

    async def single(self, request: bytes, context: Any) -> bytes:
        await self._produce(next(self._singles))
        return SINGLE_ANSWER

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass
        await self._produce(next(self._sdk_batches if scope["path"].endswith("/batch") else self._singles))
        await respond(send, 202, HTTP_ANSWER)

    async def _produce(self, records: Sequence[Record]) -> None:
        """Returns when all of them are confirmed."""
        done = self._loop.create_future()
        left = len(records)

        def report(error: Any, message: Any) -> None:
            nonlocal left
            if error is not None:
                raise RuntimeError(str(error))
            left -= 1
            if not left:
                done.set_result(None)

        produce, topic = self._producer.produce, self._topic
        for value, key, headers in records:
            produce(topic, value, key, -1, report, None, 0, headers)
        await done

    def _take_reports(self) -> None:
        self._producer.poll(0)
        self._loop.call_later(_REPORTS_SECONDS, self._take_reports)


def _records(request: bytes) -> list[Record]:
    values = slice_batch(request).slices()
    made: list[Record] = []
    for value, event in zip(values, parse_events(values), strict=True):
        assert event is not None
        made.append(
            (
                value,
                event.session_id,
                {
                    h.TENANT_ID: event.tenant_id,
                    h.PROJECT_ID: event.project_id,
                    h.EVENT_ID: event.event_id,
                    h.EVENT_TYPE: "EVENT_TYPE_TOOL_CALL_START",
                    h.RECEIVED_AT_NS: b"1750000000000000000",
                    h.SCHEMA: h.EVENT_SCHEMA.encode(),
                    h.BATCH_ID: "b" * 22,
                },
            )
        )
    return made


async def _serve(bootstrap_servers: str, topic: str) -> None:
    gateway = BareGateway(bootstrap_servers, topic)
    server = cast(Any, grpc.aio).server(options=server_options(load(GatewaySettings)))
    methods = {
        "IngestEventBatch": grpc.unary_unary_rpc_method_handler(gateway.batch),
        "IngestEvent": grpc.unary_unary_rpc_method_handler(gateway.single),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVER_SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sock = listen("127.0.0.1", 0)
    http = embedded(gateway.http)
    serving = asyncio.create_task(http.serve(sockets=[sock]))
    print(json.dumps({"grpc": port, "http": sock.getsockname()[1]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0)
    http.should_exit = True
    await serving


if __name__ == "__main__":
    uvloop.run(_serve(*sys.argv[1:]))
