"""Hostile HTTP/1.1: requests whose framing is sound and whose rest is not, and requests whose framing lies."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.fuzz.json_shapes import JsonShapes
from tests.fuzz.wire_shapes import WireShapes
from tests.support.hostile_texts import HOSTILE_TEXTS

PROTOBUF = b"application/x-protobuf"
JSON = b"application/json"
_INGEST = (b"/events", b"/v1/events", b"/events/batch", b"/v1/events/batch")
_ASK = (b"/v1/query", b"/v1/stats", b"/query")
_READ = (b"/healthz", b"/readyz", b"/metrics", b"/openapi.json", b"/v1/capabilities")
_ODD_PATHS = (
    b"/", b"*", b"//v1/events", b"/v1/v1/events", b"/v1/events/", b"/v1/events%2fbatch", b"/../../etc/passwd", b"/%00",
    b"/v1/events?x=%0d%0aset-cookie:a", b"/\x7f", b"/%ff%fe", b"/events;x", b"/v1", b"/EVENTS", b"/" + b"a" * 5000,
    b"http://127.0.0.1/v1/events", b"http://evil.example/metrics", b"/v1/capabilities#x",
)  # fmt: skip
#: What a header may hold so that the request is still sound.
_TEXT_BYTES = bytes(byte for byte in range(256) if byte >= 0x20 and byte != 0x7F) + b"\t"


@dataclass(frozen=True, slots=True)
class Request:
    """What is written to the socket; one answer is due for it, with a body unless it is to a HEAD."""

    data: bytes
    head: bool
    #: Names the request in a report.
    kind: str


class HttpShapes:
    """Requests, from one source of randomness. `key` is a valid API key."""

    def __init__(self, rng: random.Random, shapes: WireShapes, documents: JsonShapes, key: str) -> None:
        self._rng = rng
        self._shapes = shapes
        self._documents = documents
        self._key = key.encode()

    def sound(self, *, asks: bool) -> Request:
        """A request that ends where it says it ends; `asks`: of the query doors."""
        rng = self._rng
        method, path, body, content_type = b"POST", b"", b"", b""
        chance = rng.random()
        if asks:
            path = rng.choice(_ASK)
            if rng.random() < 0.5:
                body, content_type = self._documents.query(), JSON
            else:
                body, content_type = self._shapes.query(), PROTOBUF
        elif chance < 0.7:
            path = rng.choice(_INGEST)
            batch = path.endswith(b"batch")
            if rng.random() < 0.6:
                body, content_type = self._shapes.batch() if batch else self._shapes.single(), PROTOBUF
            else:
                body, content_type = self._documents.batch() if batch else self._documents.event(), JSON
        elif chance < 0.8:
            method, path = rng.choice((b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH")), rng.choice(_READ)
        else:
            method, path = rng.choice((b"GET", b"POST", b"HEAD")), rng.choice(_ODD_PATHS)
        if rng.random() < 0.02:
            content_type = rng.choice((b"", b"text/plain", b"application/json; charset=utf-16", b"multipart/form-data"))
        lines = [b"host: x", b"authorization: " + self._authorization()]
        if content_type:
            lines.append(b"content-type: " + content_type)
        if rng.random() < 0.1:
            encoding, body = self._shapes.compressed(body)
            lines.append(b"content-encoding: " + encoding.encode())
        lines += [self._header() for _ in range(rng.choice((0, 0, 0, 1, 3, 60)))]
        if method == b"POST" and rng.random() < 0.15:
            lines.append(b"transfer-encoding: chunked")
            body = self._chunked(body)
        elif body or method == b"POST":
            lines.append(b"content-length: %d" % len(body))
        else:
            body = b""
        rng.shuffle(lines)
        data = b"%b %b HTTP/1.1\r\n%b\r\n\r\n%b" % (method, path, b"\r\n".join(lines), body)
        return Request(data, method == b"HEAD", f"http {'ask' if asks else 'call'}")

    def lying(self) -> Request:
        """A request that different readers would end at different places, or that never ends."""
        rng = self._rng
        body = rng.choice(
            (b"abc", b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n", b"0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n")
        )
        length = b"content-length: %d" % len(body)
        chunked = b"transfer-encoding: chunked"
        heads: tuple[bytes, ...] = (
            length + b"\r\n" + chunked,
            chunked + b"\r\n" + length,
            length + b"\r\ncontent-length: 0",
            b"content-length: 0\r\n" + length,
            b"content-length: %d, %d" % (len(body), len(body)),
            b"content-length: +3",
            b"content-length: -1",
            b"content-length: 0x3",
            b"content-length: 3 3",
            b"content-length: 99999999999999999999",
            b"content-length : 3",
            b" content-length: 3",
            b"x: y\r\n folded: z",
            b"transfer-encoding: xchunked",
            b"transfer-encoding: chunked, identity",
            b"transfer-encoding: identity, chunked",
            b"transfer-encoding : chunked",
            b"transfer-encoding:\x0bchunked",
            b"transfer-encoding: chunked\r\ntransfer-encoding: identity",
            b"x\x00y: z",
            b"x: y\x00z",
            b"x: \x1b[31m",
            b"\xff\xfe: z",
            b": empty",
            b"no colon",
            b"connection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__",
            b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\nsec-websocket-version: 13",
            b"expect: 100-continue\r\n" + length,
        )
        head = rng.choice(heads)
        if chunked in head or b"chunked" in head:
            body = rng.choice(
                (
                    b"fffffffffffffffff\r\nabc", b"7fffffffffffffff\r\nabc", b"-1\r\nabc\r\n", b"0x3\r\nabc\r\n0\r\n\r\n",
                    b"3\nabc\n0\n\n", b"3;a=" + b"x" * 3000 + b"\r\nabc\r\n0\r\n\r\n", b"3\r\nabcX0\r\n\r\n",
                    b"0\r\ncontent-length: 5\r\n\r\n", b"0\r\n" + b"t: v\r\n" * 300 + b"\r\n", self._chunked(b"abc"),
                )
            )  # fmt: skip
        end = rng.choice((b"\r\n", b"\r\n", b"\n", b"\r"))
        first = rng.choice(
            (
                b"POST /v1/events HTTP/1.1", b"POST /v1/events HTTP/1.1", b"POST /v1/events HTTP/1.0", b"POST  /v1/events HTTP/1.1",
                b"POST /v1/events HTTP/9.9", b"POST /v1/events", b"GET /healthz HTTP/1.1", b"PRI * HTTP/2.0",
                b"CONNECT 127.0.0.1:22 HTTP/1.1", b"\x16\x03\x01\x02\x00", b"", b"\r\n\r\nGET /healthz HTTP/1.1", b"X" * 100_000,
            )
        )  # fmt: skip
        lines = end.join(
            (first, b"host: x", b"content-type: application/json", b"authorization: " + self._authorization(), head)
        )
        data = lines + end + end + body
        match rng.randrange(8):
            case 0:
                data = self._shapes.damaged([data])
            case 1:
                data = data[: rng.randrange(len(data) + 1)]
            case 2:
                data += b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" * rng.choice((1, 40))
            case 3:
                data = lines + end + b"x-flood: y\r\n" * rng.choice((100, 9000))
        return Request(data, False, "http lying")

    def _authorization(self) -> bytes:
        if self._rng.random() < 0.9:
            return b"Bearer " + self._key
        return self._rng.choice(
            (b"", b"Bearer", b"Bearer ck_x", b"Basic YTpi", b"Bearer " + self._key[:-1], b"Bearer " + b"A" * 4000)
        )

    def _header(self) -> bytes:
        rng = self._rng
        name = rng.choice((b"x-%d" % rng.randrange(99), b"accept", b"user-agent", b"traceparent", b"te", b"cookie"))
        text = rng.choice(HOSTILE_TEXTS).encode()
        if rng.random() < 0.3:
            text = bytes(rng.choices(_TEXT_BYTES, k=rng.choice((1, 20, 500))))
        if name == b"accept" and rng.random() < 0.5:
            text = PROTOBUF
        return name + b": " + bytes(byte for byte in text if byte in _TEXT_BYTES)

    def _chunked(self, body: bytes) -> bytes:
        """`body` in chunks, with extensions and trailers now and then."""
        rng = self._rng
        out, at = bytearray(), 0
        step = rng.choice((1, 7, 100, 5000)) if len(body) < 2000 else 5000
        while at < len(body):
            part = body[at : at + step]
            at += len(part)
            out += b"%x%b\r\n%b\r\n" % (len(part), rng.choice((b"", b"", b";a=b", b";x")), part)
        return bytes(out) + b"0\r\n" + rng.choice((b"", b"", b"x-trailer: y\r\n")) + b"\r\n"
