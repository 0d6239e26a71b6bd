"""Bodies that do not come, and what else may end the wait for one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from contracts.errors import Unavailable
from gateway import http_body
from gateway.admission import Admission
from gateway.draining import Draining
from gateway.http_body import BodyReader, headers_of
from gateway.http_errors import HttpRefusal, too_much_protobuf
from gateway.metrics import GatewayMetrics


class Body:
    """What uvicorn hands over: `chunks`, then nothing any more."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = list(chunks)

    async def receive(self) -> dict[str, Any]:
        if not self._chunks:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": self._chunks.pop(0), "more_body": True}


async def _read(reader: BodyReader, body: Body) -> bytes:
    with Admission(1 << 20, GatewayMetrics()).lease() as lease:
        return await reader.read(body.receive, {}, lease, limit=100, too_large=too_much_protobuf)


def test_a_body_that_does_not_come_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_body, "_LOOK_SECONDS", 0.001)

    async def run() -> None:
        reader = BodyReader(0.002, Draining())
        answers = await asyncio.gather(*(_read(reader, Body(b"a")) for _ in range(3)), return_exceptions=True)
        assert [(type(answer), getattr(answer, "status", 0)) for answer in answers] == [(HttpRefusal, 408)] * 3
        await asyncio.sleep(0.001)  # the task goes on as if nobody had cancelled it
        assert not reader._readings

    asyncio.run(run())


def test_leaving_ends_the_wait_for_bodies() -> None:
    async def run() -> None:
        draining = Draining()
        reader = BodyReader(60, draining)
        reading = asyncio.ensure_future(_read(reader, Body(b"a")))
        await asyncio.sleep(0)
        draining.give_up()
        with pytest.raises(Unavailable, match="stopping"):
            await reading
        with pytest.raises(Unavailable, match="stopping"):
            await _read(reader, Body(b"a"))

    asyncio.run(run())


def test_a_cancellation_of_somebody_else_stays_one() -> None:
    async def run() -> None:
        draining = Draining()
        reading = asyncio.ensure_future(_read(BodyReader(60, draining), Body(b"a")))
        await asyncio.sleep(0)
        reading.cancel()
        draining.give_up()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(run())


def test_the_first_header_of_a_name_counts_and_others_are_not_read() -> None:
    given = [
        (b"content-type", b"a/b"),
        (b"x-other", b"1"),
        (b"content-type", b"c/d"),
        (b"authorization", b"Bearer \xe9"),
    ]
    assert headers_of({"headers": given}) == {"content-type": "a/b", "authorization": "Bearer é"}
