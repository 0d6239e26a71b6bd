"""Reading a request: bounded in bytes and in time, admitted before it is read.

uvicorn bounds none of it. A body of announced length takes its whole credit (and is refused when it is too large) before the
first byte is read; one of unknown length takes it chunk by chunk. What a refused client still sends is discarded by uvicorn.
"""

from __future__ import annotations

import asyncio
import enum
import itertools
from collections.abc import Callable

from contracts.errors import Unavailable
from gateway.admission import Lease
from gateway.draining import RETRY_SECONDS, STOPPING, Draining
from gateway.http_errors import HttpRefusal, body_too_slow, unsupported_media
from runtime.http import Receive, Scope

PROTOBUF = "application/x-protobuf"
_PROTOBUF_TYPES = {PROTOBUF, "application/protobuf", "application/vnd.google.protobuf"}
#: Headers that anything is read from, as they come and as they are called here. The others of a request are not looked at.
_READ = {
    name.encode(): name
    for name in (
        "accept",
        "authorization",
        "content-encoding",
        "content-length",
        "content-type",
        "traceparent",
        "transfer-encoding",
    )
}
#: How often slow bodies are looked for, seconds.
_LOOK_SECONDS = 0.05


class Format(enum.Enum):
    JSON = "json"
    PROTOBUF = "protobuf"


class ClientGone(Exception):
    """The client closed the connection before its request was complete; nobody waits for an answer."""


def headers_of(scope: Scope) -> dict[str, str]:
    """The values of :data:`_READ` by lower-case name; the first counts when a name repeats."""
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = _READ.get(raw)
        if name is not None and name not in found:
            found[name] = value.decode("latin-1")
    return found


def body_format(headers: dict[str, str]) -> Format:
    """What the body is. Raises HttpRefusal (415) for anything but JSON and protobuf, compressed bodies included."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise unsupported_media("compressed bodies are not accepted; leave Content-Encoding out")
    content_type = headers.get("content-type", "")
    if content_type == PROTOBUF:  # what the SDK sends
        return Format.PROTOBUF
    media_type = content_type.partition(";")[0].strip().lower()
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


class BodyReader:
    """Reads the bodies of one process's requests."""

    def __init__(self, seconds: float, draining: Draining) -> None:
        self._seconds = seconds
        self._draining = draining
        # In the order they began. One timer looks after all of them: a timer each costs a single event's request 5 µs.
        self._readings: dict[_Reading, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        draining.on_give_up(self._leave)

    async def read(
        self,
        receive: Receive,
        headers: dict[str, str],
        lease: Lease,
        *,
        limit: int,
        too_large: Callable[[str], HttpRefusal],
    ) -> bytes:
        """The whole body. Raises HttpRefusal (too large, too slow), Overloaded, Unavailable (the process leaves) or ClientGone."""
        if self._draining.gave_up:
            raise Unavailable(STOPPING, RETRY_SECONDS)
        length = announced_length(headers)
        if length is not None:
            if length > limit:
                raise too_large(f"the body is larger than {limit} bytes")
            lease.grow(length)
        loop = asyncio.get_running_loop()
        reading = _Reading(asyncio.current_task(), loop.time())
        self._readings[reading] = None
        if self._timer is None:
            self._timer = loop.call_later(_LOOK_SECONDS, self._look)
        chunks: list[bytes] = []
        size = 0
        try:
            while True:
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise ClientGone
                chunk: bytes = event.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise too_large(f"the body is larger than {limit} bytes")
                if length is None:
                    lease.grow(len(chunk))
                chunks.append(chunk)
                if not event.get("more_body", False):
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        except asyncio.CancelledError:
            if not reading.taken_back():
                raise
            if self._draining.gave_up:
                raise Unavailable(STOPPING, RETRY_SECONDS) from None
            raise body_too_slow(self._seconds) from None
        finally:
            del self._readings[reading]

    def _look(self) -> None:
        """Which bodies have taken too long."""
        loop = asyncio.get_running_loop()
        began = loop.time() - self._seconds
        for reading in itertools.takewhile(lambda reading: reading.began <= began, self._readings):
            reading.end()
        self._timer = loop.call_later(_LOOK_SECONDS, self._look) if self._readings else None

    def _leave(self) -> None:
        for reading in self._readings:
            reading.end()


class _Reading:
    """One body that is read. What ends it is a cancellation that its task takes back, as that of ``asyncio.timeout``."""

    __slots__ = ("_task", "began", "ended")

    def __init__(self, task: asyncio.Task[object] | None, began: float) -> None:
        assert task is not None
        self._task = task
        self.began = began
        self.ended = False

    def end(self) -> None:
        if not self.ended:
            self.ended = True
            self._task.cancel()

    def taken_back(self) -> bool:
        """Whether it was cancelled by :meth:`end` and by nobody else."""
        return self.ended and self._task.uncancel() == 0
