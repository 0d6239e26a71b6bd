"""Asking a process's status page; past every proxy, bounded in time."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass

#: Longest wait for an answer, seconds.
PAGE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Page:
    """An answer, or why there is none."""

    body: bytes = b""
    problem: str = ""
    #: How far the other side's clock is ahead of ours, seconds, and by how much that may be wrong. None: it did not say.
    clock_ahead_seconds: float | None = None
    clock_error_seconds: float = 0.0


def get(
    host: str,
    port: int,
    path: str,
    headers: dict[str, str] | None = None,
    *,
    body: bytes | None = None,
    secure: bool = False,
) -> Page:
    """One GET, or a POST with a `body`. Never raises for what the other side does; `problem` never repeats `headers`."""
    connection: http.client.HTTPConnection = (http.client.HTTPSConnection if secure else http.client.HTTPConnection)(
        host, port, timeout=PAGE_SECONDS
    )
    try:
        before = time.time()
        connection.request("GET" if body is None else "POST", path, body, headers or {})
        answer = connection.getresponse()
        content = answer.read(1 << 20)
        after = time.time()
    except (OSError, http.client.HTTPException) as error:
        return Page(problem=str(error) or type(error).__name__)
    finally:
        connection.close()
    if answer.status != 200:
        return Page(content, f"answers {answer.status}")
    return _timed(content, before, after)


def _timed(body: bytes, before: float, after: float) -> Page:
    try:
        said = int(json.loads(body)["unix_ms"]) / 1000  # ClickHouse may quote it
    except (ValueError, KeyError, TypeError):
        return Page(body)
    return Page(body, clock_ahead_seconds=said - (before + after) / 2, clock_error_seconds=(after - before) / 2 + 0.001)
