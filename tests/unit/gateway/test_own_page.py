from __future__ import annotations

import httpx
import pytest

from gateway.metrics import GatewayMetrics
from gateway.own_page import OwnPage
from runtime.health import Readiness
from tests.support.processors import free_port


async def test_a_process_answers_for_itself() -> None:
    port, readiness = free_port(), Readiness()
    page = OwnPage(GatewayMetrics(), readiness)
    readiness.set("kafka", "does not answer")
    page.start("127.0.0.1", port)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/readyz")).status_code == 503
        readiness.set("kafka")
        assert (await client.get("/readyz")).status_code == 200
        assert "gateway_inflight_bytes" in (await client.get("/metrics")).text
        with pytest.raises(OSError, match="in use"):
            OwnPage(GatewayMetrics(), readiness).start("127.0.0.1", port)
        await page.stop()
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"http://127.0.0.1:{port}/readyz")


async def test_without_a_port_there_is_no_page() -> None:
    page = OwnPage(GatewayMetrics(), Readiness())
    page.start("127.0.0.1", 0)
    await page.stop()
