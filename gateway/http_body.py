"""Reading a request: bounded in bytes and in time, admitted before it is read.

uvicorn bounds none of it. A body of announced length takes its whole credit (and is refused when it is too large) before the
first byte is read; one of unknown length takes it chunk by chunk. What a refused client still sends is discarded by uvicorn.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from contracts.errors import Unavailable
from gateway.admission import Lease
from gateway.draining import RETRY_SECONDS, STOPPING, Draining
from gateway.http_errors import HttpRefusal, body_too_slow, unsupported_media
from runtime.http import Receive, Scope

PROTOBUF = "application/x-protobuf"
_PROTOBUF_TYPES = {PROTOBUF, "application/protobuf", "application/vnd.google.protobuf"}


class Format(enum.Enum):
    JSON = "json"
    PROTOBUF = "protobuf"


class ClientGone(Exception):
    """The client closed the connection before its request was complete; nobody waits for an answer."""


def headers_of(scope: Scope) -> dict[str, str]:
    """Header values by lower-case name; the first counts when a name repeats."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1"), value.decode("latin-1"))
    return found


def body_format(headers: dict[str, str]) -> Format:
    """What the body is. Raises HttpRefusal (415) for anything but JSON and protobuf, compressed bodies included."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise unsupported_media("compressed bodies are not accepted; leave Content-Encoding out")
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in _PROTOBUF_TYPES:
        return Format.PROTOBUF
    if media_type == "application/json":
        return Format.JSON
    raise unsupported_media(f"the Content-Type must be application/json or {PROTOBUF}")


def wants_protobuf(headers: dict[str, str]) -> bool:
    if headers.get("accept", "*/*") == "*/*":  # what most send, the SDK too
        return False
    accepted = (part.partition(";")[0].strip().lower() for part in headers.get("accept", "").split(","))
    return any(media_type in _PROTOBUF_TYPES for media_type in accepted)


def announced_length(headers: dict[str, str]) -> int | None:
    """The body's length as its head tells it, bytes; None: it comes in chunks."""
    announced = headers.get("content-length", "")
    return int(announced) if announced.isascii() and announced.isdigit() else None


async def read_body(
    receive: Receive,
    headers: dict[str, str],
    lease: Lease,
    *,
    limit: int,
    too_large: Callable[[str], HttpRefusal],
    seconds: float,
    draining: Draining,
) -> bytes:
    """The whole body. Raises HttpRefusal (too large, too slow), Overloaded, Unavailable (the process leaves) or ClientGone."""
    message = f"the body is larger than {limit} bytes"
    length = announced_length(headers)
    if length is not None:
        if length > limit:
            raise too_large(message)
        lease.grow(length)
    chunks: list[bytes] = []
    size = 0
    try:
        async with draining.timeout(seconds):
            while True:
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise ClientGone
                chunk: bytes = event.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise too_large(message)
                if length is None:
                    lease.grow(len(chunk))
                chunks.append(chunk)
                if not event.get("more_body", False):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except TimeoutError:
        if draining.gave_up:
            raise Unavailable(STOPPING, RETRY_SECONDS) from None
        raise body_too_slow(seconds) from None
