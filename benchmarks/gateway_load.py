"""The callers of ``gateway-overload``, as a process of their own: both doors, serialized once, sent on a schedule.

Reads one JSON object from standard input (:class:`Plan`) and writes one to standard output (:class:`Tally`).
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc
import grpc.aio
import uvloop
from chaukas.spec.common.v1 import events_pb2 as pb
from chaukas.spec.server.v1 import server_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from benchmarks.sdk_events import fleshed_out

METHOD = "/chaukas.spec.server.v1.ChaukasServerService/IngestEventBatch"
_ID = "B" * 16
#: Calls of one gRPC channel.
_CALLS_PER_CHANNEL = 10


@dataclass(frozen=True)
class Plan:
    grpc_port: int
    http_port: int
    key: str
    tenant_id: str
    seconds: float
    #: Callers of each door; each sends its next batch when its time has come and the last is answered.
    callers: int
    #: Batches a second of all callers together; 0: as fast as they are answered.
    batches_per_second: float
    events_per_batch: int
    seed: int


@dataclass
class Tally:
    """What came back."""

    offered: int = 0
    #: Batch ids.
    accepted: list[str] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    #: Refusals without a retriable code, a hint, or the word that sending again is safe.
    not_hinted: list[str] = field(default_factory=list)
    body_bytes: int = 0
    #: From the first call to the last answer.
    seconds: float = 0.0

    def refuse(self, code: str, *, hinted: bool, text: str) -> None:
        self.refused[code] = self.refused.get(code, 0) + 1
        if not hinted:
            self.not_hinted.append(f"{code}: {text[:200]}")


class Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._tally = Tally()
        self._template = _template(plan)
        self._tally.body_bytes = len(self._template)
        self._next_id = 0

    async def run(self) -> Tally:
        plan = self._plan
        start = time.monotonic()
        target = f"127.0.0.1:{plan.grpc_port}"
        options = (("grpc.use_local_subchannel_pool", 1),)
        channels: list[Any] = [
            grpc.aio.insecure_channel(target, options=options) for _ in range(-(-plan.callers // _CALLS_PER_CHANNEL))
        ]
        callers = [self._over_http(number, start) for number in range(plan.callers)]
        callers += [self._over_grpc(channels[number % len(channels)], number, start) for number in range(plan.callers)]
        await asyncio.gather(*callers)
        self._tally.seconds = time.monotonic() - start
        for channel in channels:
            await channel.close()
        return self._tally

    async def _its_turn(self, number: int, turn: int, start: float) -> str:
        """Waits for a caller's next turn; the batch's id, empty when the time is up."""
        plan = self._plan
        if plan.batches_per_second:
            every = 2 * plan.callers / plan.batches_per_second
            due = start + (turn + number / plan.callers) * every
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        if time.monotonic() - start > plan.seconds:
            return ""
        self._next_id += 1
        self._tally.offered += 1
        return f"{plan.seed:04d}{self._next_id:012d}"

    def _body(self, batch_id: str) -> bytes:
        return self._template.replace(_ID.encode(), batch_id.encode(), 1)

    async def _over_grpc(self, channel: Any, number: int, start: float) -> None:
        send = channel.unary_unary(METHOD)
        metadata = (("authorization", f"Bearer {self._plan.key}"),)
        turn = 0
        while batch_id := await self._its_turn(number, turn, start):
            turn += 1
            try:
                await send(self._body(batch_id), metadata=metadata)
            except grpc.aio.AioRpcError as error:
                status = rpc_status.from_call(error)  # type: ignore[arg-type]  # has what is read of it
                hint = error_details_pb2.RetryInfo()
                hinted = status is not None and any(detail.Unpack(hint) for detail in status.details)
                retriable = error.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
                text = error.details() or ""
                self._tally.refuse(error.code().name, hinted=hinted and retriable and "safe" in text, text=text)
            else:
                self._tally.accepted.append(batch_id)

    async def _over_http(self, number: int, start: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._plan.http_port)
        head = (
            f"POST /v1/events/batch HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self._plan.key}\r\n"
            f"content-type: application/x-protobuf\r\ncontent-length: {len(self._template)}\r\n\r\n"
        ).encode()
        turn = 0
        while batch_id := await self._its_turn(number, turn, start):
            turn += 1
            writer.write(head + self._body(batch_id))
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            lines = answer.split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            body = (await reader.readexactly(int(headers["content-length"]))).decode()
            code = lines[0].split()[1]
            if code == "202":
                self._tally.accepted.append(batch_id)
            else:
                hinted = code in ("429", "503") and "retry-after" in headers and "safe" in body
                self._tally.refuse(code, hinted=hinted, text=body)
        writer.close()


def _template(plan: Plan) -> bytes:
    rng = random.Random(plan.seed)
    events = [
        fleshed_out(
            pb.Event(
                event_id=f"{plan.seed}-{index}",
                tenant_id=plan.tenant_id,
                session_id=f"session-{index % 20}",
                type=pb.EVENT_TYPE_MODEL_INVOCATION_END,
                agent_id="agent",
                agent_name="agent",
                llm_invocation=pb.LLMInvocation(model="gpt", provider="openai", completion_tokens=20),
            ),
            rng,
        )
        for index in range(plan.events_per_batch)
    ]
    request = server_pb2.IngestEventBatchRequest(event_batch=pb.EventBatch(batch_id=_ID, events=events))
    body: bytes = request.SerializeToString()
    return body


def main() -> None:
    plan = Plan(**json.load(sys.stdin))
    tally = uvloop.run(Load(plan).run())
    json.dump(asdict(tally), sys.stdout)


if __name__ == "__main__":
    main()
