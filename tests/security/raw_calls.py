"""A gRPC call with metadata that no client library lets through."""

from __future__ import annotations

import asyncio

from tests.fuzz.http2_client import Http2Client, call_headers


def call_with_bytes(target: str, authorization: bytes) -> str:
    """The status of an ingest call with this header, as bytes."""

    async def call() -> str:
        client = await Http2Client.connect(int(target.rpartition(":")[2]))
        try:
            path = b"/chaukas.spec.server.v1.ChaukasServerService/IngestEvent"
            headers = call_headers(path, [(b"authorization", authorization), (b"x-odd", authorization)])
            return await asyncio.wait_for(client.call(headers, bytes(5)), 10)
        finally:
            client.close()

    return asyncio.run(call())
