"""Hostile gRPC over real sockets: every service and method, messages, metadata, framing, encodings, resets and floods."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.fuzz import http2_client as h2
from tests.fuzz.http2_client import Http2Client, call_headers, frame, header_block
from tests.fuzz.outcomes import Outcomes
from tests.fuzz.wire_shapes import WireShapes
from tests.support.hostile_texts import HOSTILE_TEXTS

_SERVER = b"/chaukas.spec.server.v1.ChaukasServerService/"
_CLIENT = b"/chaukas.spec.client.v1.ChaukasClientService/"
_INSIGHTS = b"/chaukas.gateway.v1.InsightsService/"
_HEALTH = b"/grpc.health.v1.Health/"
_REFLECTION = b"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
INGEST = tuple(service + name for service in (_SERVER, _CLIENT) for name in (b"IngestEvent", b"IngestEventBatch"))
ASK = (
    *(service + b"QueryEvents" for service in (_SERVER, _CLIENT)),
    _SERVER + b"GetEventStats",
    *(_INSIGHTS + name for name in (b"ListHandoffs", b"ListMcpCalls", b"GetHandoffStats", b"GetMcpStats")),
)
OTHER = (
    *(service + name for service in (_SERVER, _CLIENT) for name in (b"Healthz", b"GetCapabilities")),
    _HEALTH + b"Check",
    _REFLECTION,
    _SERVER + b"NoSuchMethod",
    b"/no.such.Service/Method",
    b"",
    b"/",
    b"no slash",
    b"/a/b/c",
    b"/\xff\xfe/\x00",
)
_NO_TIMEOUTS = (b"-1S", b"x")
#: Calls under way on one connection.
_AT_ONCE = 48
#: Longest wait for the answer of a call that is complete, seconds.
_ANSWER_SECONDS = 90.0
#: How long a connection that misbehaves is watched, seconds.
_ABUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class GrpcTarget:
    """A server and what it takes to be let in."""

    name: str
    port: int
    credentials: tuple[tuple[bytes, bytes], ...]
    #: Methods and their shares.
    paths: tuple[tuple[Sequence[bytes], float], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """What one call sends."""

    headers: list[tuple[bytes, bytes]]
    body: bytes
    #: It is taken back before it ends.
    resets: bool
    #: It breaks rules that grpc's core keeps: compression, base64 in metadata, timeouts, the frame of a message. For some of them gRPC's
    #: own specification asks for INTERNAL ("compressed flag set without an encoding"), which none of our code ever sees.
    of_the_core: bool


class GrpcShapes:
    """Calls, from one source of randomness."""

    def __init__(self, rng: random.Random, wire: WireShapes, target: GrpcTarget) -> None:
        self.rng = rng
        self._wire = wire
        self._target = target

    def call(self) -> Call:
        """The next call."""
        rng = self.rng
        groups = [group for group, _ in self._target.paths]
        path = rng.choice(rng.choices(groups, [share for _, share in self._target.paths])[0])
        message = self._message(path)
        extra = list(self._target.credentials)
        if rng.random() < 0.08:
            extra = self._credentials(extra)
        compressed = of_the_core = False
        if rng.random() < 0.08:
            encoding, message = self._wire.compressed(message)
            extra.append((b"grpc-encoding", encoding.encode()))
            compressed = rng.random() < 0.8
            of_the_core = True
        extra += [self._metadata() for _ in range(rng.choice((0, 0, 0, 0, 1, 4, 30)))]
        body = struct.pack(">BI", compressed, len(message)) + message
        if rng.random() < 0.05:
            body = self._framing(body)
            of_the_core = True
        if any(_only_core_reads(name, value) for name, value in extra):
            of_the_core = True
        # A message that does not come is waited for, so few calls stay open: they are taken back.
        return Call(call_headers(path, extra), body, rng.random() < 0.02, of_the_core)

    def _message(self, path: bytes) -> bytes:
        wire = self._wire
        if path.endswith(b"IngestEvent"):
            return wire.single()
        if path.endswith(b"IngestEventBatch"):
            return wire.batch()
        if path.startswith(_INSIGHTS):
            return wire.listing()
        return wire.query() if self.rng.random() < 0.9 else wire.single()

    def _credentials(self, genuine: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        rng = self.rng
        match rng.randrange(4):
            case 0:
                return []
            case 1:
                return genuine * 2
            case 2:
                return [(name, self._wire.damaged([value]).translate(None, b"\x00\r\n")) for name, value in genuine]
            case _:
                return [(name, rng.choice((b"", b"Bearer", b"x" * 3000))) for name, _ in genuine]

    def _metadata(self) -> tuple[bytes, bytes]:
        rng = self.rng
        text = rng.choice(HOSTILE_TEXTS).encode()
        printable = bytes(byte for byte in text if 0x20 <= byte < 0x7F) or b"x"
        return rng.choice(
            (
                (b"x-%d" % rng.randrange(99), printable),
                (b"y-bin", h2.hpack_binary(text)) if rng.random() < 0.9 else (b"x-bin", printable),
                (b"traceparent", printable),
                (b"grpc-timeout", rng.choice((b"1n", b"99999999H", b"5S", b"9M", *_NO_TIMEOUTS[: rng.randrange(3)]))),
                (b"user-agent", printable * rng.choice((1, 20))),
                (b"grpc-accept-encoding", printable),
            )
        )

    def _framing(self, body: bytes) -> bytes:
        """The message's own frame lies, or there are several, or none."""
        rng = self.rng
        match rng.randrange(6):
            case 0:
                return body * 2
            case 1:
                return b""
            case 2:
                return body[: rng.randrange(len(body))]
            case 3:
                return struct.pack(">BI", rng.choice((0, 1, 2, 255)), rng.choice((0, 1, 2**31, 2**32 - 1))) + body[5:50]
            case 4:
                return body + b"\x00"
            case _:
                return b"\x01" + body[1:]  # compressed, without a word about how


def _only_core_reads(name: bytes, value: bytes) -> bool:
    """Whether a header is one that grpc's core cannot read."""
    if name.endswith(b"-bin"):
        try:
            return h2.hpack_binary(base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)) != value
        except binascii.Error:
            return True
    return name == b"grpc-timeout" and value in _NO_TIMEOUTS


class GrpcLoad:
    """Some connections to one server."""

    def __init__(self, target: GrpcTarget, shapes: Callable[[int], GrpcShapes], outcomes: Outcomes) -> None:
        self._target = target
        self._shapes = shapes
        self._outcomes = outcomes

    async def run(self, count: int, connections: int) -> None:
        """`count` calls, and a flood now and then."""
        share = max(1, count // connections)
        await asyncio.gather(*(self._worker(number, share) for number in range(connections)))

    async def _worker(self, number: int, count: int) -> None:
        shapes = self._shapes(number)
        done = 0
        while done < count:
            size = min(_AT_ONCE * 8, count - done)
            await self._calls(shapes, size)
            done += size
            await self._abuse(shapes.rng)

    async def _calls(self, shapes: GrpcShapes, count: int) -> None:
        """On one connection, unless a call ends it: then the others go on with the next."""
        client = await Http2Client.connect(self._target.port)
        room = asyncio.Semaphore(_AT_ONCE)
        tasks: set[asyncio.Task[None]] = set()
        for _ in range(count):
            call = shapes.call()
            await room.acquire()
            if client.closed or client.went_away:
                client = await Http2Client.connect(self._target.port)
            task = asyncio.create_task(self._one(client, call))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            task.add_done_callback(lambda _: room.release())
        await asyncio.gather(*tasks)
        client.close()

    async def _one(self, client: Http2Client, call: Call) -> None:
        path = call.headers[2][1]
        name = f"{self._target.name} {'ask' if path in ASK else 'call'}"
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await client.call(call.headers, call.body, ends=not call.resets, resets=call.resets)
        except TimeoutError:
            self._outcomes.defect(f"no answer in {_ANSWER_SECONDS:.0f} s to {path!r} {call.body[:500]!r}")
            return
        if answer == "INTERNAL" and call.of_the_core:
            answer = "INTERNAL (core)"
        self._outcomes.add(name, answer, repr((call.headers, call.body[:1500])))

    async def _abuse(self, rng: random.Random) -> None:
        """A connection that breaks the rules of HTTP/2; whatever comes of it, the others go on."""
        name, data = rng.choice(abuses(rng, self._target.credentials))
        try:
            client = await Http2Client.connect(self._target.port)
        except ConnectionError as error:
            self._outcomes.defect(f"the door does not answer: {error}")
            return
        client.write(data)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client.ended.wait(), _ABUSE_SECONDS)
        self._outcomes.add(f"{self._target.name} abuse", f"{name}: {'closed' if client.closed else 'borne'}")
        client.close()


def abuses(rng: random.Random, credentials: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, bytes]]:
    """What breaks or floods HTTP/2, by name."""
    path = rng.choice(INGEST)
    block = header_block(call_headers(path, list(credentials)))
    start = frame(h2.HEADERS, h2.END_HEADERS, 1, block)
    unfinished = frame(h2.HEADERS, 0, 1, block)
    reset = struct.pack(">I", 8)
    return [
        ("rapid reset", b"".join(
            frame(h2.HEADERS, h2.END_HEADERS, 2 * n + 1, block) + frame(h2.RST_STREAM, 0, 2 * n + 1, reset)
            for n in range(300)
        )),
        ("continuation flood", unfinished + frame(h2.CONTINUATION, 0, 1, header_block([(b"x-a", b"y" * 200)] * 50)) * 200),
        ("empty continuations", unfinished + frame(h2.CONTINUATION, 0, 1) * 3000),
        ("settings flood", frame(h2.SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535)) * 5000),
        ("ping flood", frame(h2.PING, 0, 0, bytes(8)) * 5000),
        ("window flood", start + frame(h2.WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)) * 5000),
        ("window overflow", frame(h2.WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1)) * 3),
        ("priority flood", frame(h2.PRIORITY, 0, 1, struct.pack(">IB", 1, 0)) * 5000),
        ("empty data flood", start + frame(h2.DATA, 0, 1) * 5000),
        ("data on stream 0", frame(h2.DATA, 0, 0, b"x")),
        ("push promise", frame(h2.PUSH_PROMISE, h2.END_HEADERS, 1, struct.pack(">I", 2) + block)),
        ("huge frame", struct.pack(">I", 2**24 - 1)[1:] + b"\x00\x00" + struct.pack(">I", 1) + b"x" * 100_000),
        ("unknown frames", frame(0xFE, 0xFF, 1, b"x" * 1000) * 500),
        ("odd settings", frame(h2.SETTINGS, 0, 0, struct.pack(">HIHIHI", 4, 2**32 - 1, 5, 0, 99, 7))),
        ("hpack bomb", frame(h2.HEADERS, h2.END_HEADERS, 1, b"\x40" + h2.hpack_string(b"x") + h2.hpack_string(b"y" * 4000))
            + b"".join(frame(h2.HEADERS, h2.END_HEADERS, 2 * n + 3, b"\xbe" * 5000) for n in range(50))),
        ("hpack integer", frame(h2.HEADERS, h2.END_HEADERS, 1, b"\xff" + b"\xff" * 30)),
        ("even stream", frame(h2.HEADERS, h2.END_HEADERS, 2, block)),
        ("noise", rng.randbytes(5000)),
        ("HTTP/1", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("two ends", start + frame(h2.DATA, h2.END_STREAM, 1, b"") + frame(h2.DATA, h2.END_STREAM, 1, b"x")),
        ("many streams", b"".join(frame(h2.HEADERS, h2.END_HEADERS, 2 * n + 1, block) for n in range(1500))),
    ]  # fmt: skip
