"""uvicorn's HTTP/1.1 protocol with what it does not bound by itself.

An application sees a request only once its head is complete, and nothing of a connection after its answer is made; what happens
before and after, only the protocol can bound:

- the head of a request, in bytes (431, then closed) and in time (closed);
- what a connection may send between requests and after the last chunk of a body (trailers are dropped);
- the rest of a body whose request is answered already, in time;
- the time a client takes to read its answers;
- requests sent ahead without waiting for answers (pipelining);
- the number of connections: beyond it, requests carry :data:`CROWDED` in their state, for the application to refuse them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

#: Largest head (request line and headers) that is gathered over several reads, bytes.
HEAD_MAX_BYTES = 64 * 1024
#: Longest time from the connection, or from a request's first byte, to the end of its head, seconds.
HEAD_SECONDS = 10.0
#: Most requests that wait behind the one that is worked on.
PIPELINE_MAX = 16
#: A connection beyond this multiple of the limit is closed at once.
_TOO_MANY = 1.25
#: Key in the ``state`` of a request's scope: it came on a connection beyond the limit.
CROWDED = "crowded"

_BODY = b'{"error":"the head of the request is too large"}'
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_BODY), _BODY)
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may differ between servers."""

    max_connections: int = 1000
    #: Longest time for the rest of a body after its answer, seconds.
    rest_seconds: float = 30.0
    #: Longest time a client may take to read what was written to it, seconds.
    answer_seconds: float = 30.0


class _Abuse(Exception):
    """What no honest client sends; the parser reports it as an error of the request."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Adds the bounds; everything else is uvicorn's."""

    def __init__(self, bounds: Bounds, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._bounds = bounds
        self._crowded = False
        self._in_head = True
        #: A request has begun and its end has not come.
        self._in_message = False
        #: Bytes of the head as far as it came, or since the parser last told of anything.
        self._unseen_bytes = 0
        self._trailer_bytes = 0
        self._seen = self._part_complete = False
        #: Requests that are not answered yet, in order; uvicorn itself knows the last one only.
        self._unanswered: deque[RequestResponseCycle] = deque()
        self._head_timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        count = len(self.connections)
        self._crowded = count > self._bounds.max_connections
        if count > self._bounds.max_connections * _TOO_MANY:
            transport.abort()
            return
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        for name in ("_head_timer", "_rest_timer", "_write_timer"):
            self._stop(name)
        for cycle in self._unanswered:  # else those before the last would write to a connection that is gone
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._seen = self._part_complete = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._part_complete or (self._seen and not self._in_head):
            self._unseen_bytes = 0
        else:
            self._unseen_bytes += len(data)
        if self._unseen_bytes > HEAD_MAX_BYTES:
            if self._idle:
                self.transport.write(_TOO_LARGE)
            self._close()
        elif not self._in_message and self._idle and self._head_timer is None:
            # Bytes that begin no request stopped uvicorn's timer of an idle connection.
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._close)

    @property
    def _idle(self) -> bool:
        """No request is worked on."""
        return self.cycle is None or self.cycle.response_complete

    def on_message_begin(self) -> None:
        self._seen = self._in_head = self._in_message = True
        self._unseen_bytes = self._trailer_bytes = 0
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._close)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            super().on_header(name, value)
            return
        self._seen = True
        self._trailer_bytes += len(name) + len(value) + 4
        if self._trailer_bytes > HEAD_MAX_BYTES:
            raise _Abuse

    def on_headers_complete(self) -> None:
        self._seen = True
        self._in_head = False
        self._part_complete = True
        self._stop("_head_timer")
        if len(self.pipeline) >= PIPELINE_MAX:
            raise _Abuse
        if self._crowded:
            self.scope["state"][CROWDED] = True
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self._unanswered.append(self.cycle)

    def on_body(self, body: bytes) -> None:
        self._seen = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._seen = self._part_complete = True
        self._in_message = False
        # What follows is the head of the next request, or nothing.
        self._in_head = True
        self._unseen_bytes = 0
        self._stop("_rest_timer")
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._unanswered:
            self._unanswered.popleft()
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_later()
            return
        if self.pipeline:
            self.flow.pause_reading()  # uvicorn would let more requests in with each answer
        elif self._in_message and not self._in_head and self._rest_timer is None and self.cycle.response_complete:
            self._rest_timer = self.loop.call_later(self._bounds.rest_seconds, self._close)

    def send_400_response(self, msg: str) -> None:
        if self._idle:
            super().send_400_response(msg)
        else:
            self.transport.close()  # an answer now would be taken for that of an earlier request

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def pause_writing(self) -> None:
        self._abort_later()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stop("_write_timer")
        super().resume_writing()

    def _stop(self, name: str) -> None:
        timer: asyncio.TimerHandle | None = getattr(self, name)
        if timer is not None:
            timer.cancel()
            setattr(self, name, None)

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
            self._abort_later()

    def _abort_later(self) -> None:
        """Closing waits until what was written is read; that must not take for ever."""
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self._bounds.answer_seconds, self.transport.abort)
