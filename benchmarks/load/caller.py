"""The callers, as a process of their own: ``python -m benchmarks.load.caller`` reads a :class:`Plan` and writes a :class:`Tally`.

A few microseconds a call, so that the process is idle most of the time while the one it calls is not.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict

import uvloop

from benchmarks.load.http1 import HttpConnection
from benchmarks.load.http2 import GrpcConnection
from benchmarks.load.plan import Plan, Tally, percentiles
from benchmarks.load.requests import fresh, pool, singles

_SERVICE = "/chaukas.spec.server.v1.ChaukasServerService"
_PATHS = {
    "grpc-batch": f"{_SERVICE}/IngestEventBatch",
    "grpc-unary": f"{_SERVICE}/IngestEvent",
    "http-batch": "/v1/events/batch",
    "http-single": "/v1/events",
}
_ACCEPTED = ("0", "202")
#: Longest wait for the last answers, seconds.
_LAST_SECONDS = 35.0
#: How often an open loop looks which calls are due, seconds.
_TICK_SECONDS = 0.001

Connection = GrpcConnection | HttpConnection


class Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._grpc = plan.kind.startswith("grpc")
        self._limit = plan.in_flight if self._grpc else 1
        self._tally = Tally()
        make = singles(plan.tenant_id, plan.project_id) if plan.kind.endswith(("unary", "single")) else None
        self._requests = make or pool(plan.tenant_id, plan.project_id, plan.events_per_call)
        self._tally.request_bytes = sum(map(len, self._requests)) / len(self._requests)
        self._first_id = plan.seed << 40
        self._connections: list[Connection] = []
        self._of: dict[int, tuple[Connection, float]] = {}
        self._sent = 0
        self._end = float("inf")
        self._latencies: list[float] = []
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> Tally:
        plan = self._plan
        loop = asyncio.get_running_loop()
        kind = GrpcConnection if self._grpc else HttpConnection
        for _ in range(plan.connections):
            _, connection = await loop.create_connection(
                lambda: kind(_PATHS[plan.kind], plan.key, self._done), "127.0.0.1", plan.port
            )
            self._connections.append(connection)
            await connection.ready
        started, cpu = time.perf_counter(), time.process_time()
        self._end = started + plan.seconds
        if plan.rate:
            await self._on_schedule(started)
        else:
            for connection in self._connections:
                for _ in range(self._limit):
                    self._next(connection)
        if self._of:
            await asyncio.wait_for(self._over, plan.seconds + _LAST_SECONDS)
        self._tally.seconds = time.perf_counter() - started
        self._tally.cpu_seconds = time.process_time() - cpu
        self._tally.latency = percentiles(self._latencies)
        for connection in self._connections:
            connection.close()
        return self._tally

    async def _on_schedule(self, started: float) -> None:
        plan = self._plan
        due = 0
        last = plan.calls or int(plan.seconds * plan.rate)
        while due < last:
            now = time.perf_counter()
            while due < last and started + due / plan.rate <= now:
                connection = self._connections[due % len(self._connections)]
                if connection.under_way >= self._limit:
                    connection = min(self._connections, key=lambda one: one.under_way)
                if connection.under_way < self._limit:
                    self._send(connection, started + due / plan.rate)
                else:
                    self._tally.held_back += 1
                due += 1
            await asyncio.sleep(min(_TICK_SECONDS, max(0.0, started + due / plan.rate - time.perf_counter())))
        self._end = 0.0

    def _next(self, connection: Connection) -> None:
        now = time.perf_counter()
        if now < self._end and not 0 < self._plan.calls <= self._sent:
            self._send(connection, now)
        else:
            self._end = 0.0

    def _send(self, connection: Connection, due: float) -> None:
        number = self._sent
        self._sent += 1
        self._of[number] = (connection, due)
        connection.call(number, fresh(self._requests[number % len(self._requests)], self._first_id + number))

    def _done(self, number: int, code: str) -> None:
        connection, due = self._of.pop(number)
        self._tally.calls += 1
        if code in _ACCEPTED:
            self._tally.accepted += 1
            self._latencies.append(time.perf_counter() - due)
        else:
            self._tally.refused[code] = self._tally.refused.get(code, 0) + 1
        if not self._plan.rate:
            self._next(connection)
        if not self._of and not self._end and not self._over.done():
            self._over.set_result(None)


async def _run(plan: Plan) -> Tally:
    return await Load(plan).run()


def main() -> None:
    plan = Plan(**json.load(sys.stdin))
    json.dump(asdict(uvloop.run(_run(plan))), sys.stdout)


if __name__ == "__main__":
    main()
