"""Asking a process whether it is ready."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Probe:
    """The answer of a status page."""

    ready: bool
    #: What is missing, for a person; empty when ready.
    missing: str = ""


def probe(url: str, timeout_seconds: float = 2.0) -> Probe:
    """Fetch a ``/readyz`` page, past every proxy. Blocks up to the timeout; never raises for what the other side does."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_seconds)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        body = answer.read(65_536)
    except (OSError, http.client.HTTPException) as error:
        return Probe(False, f"{url} does not answer ({error or type(error).__name__})")
    finally:
        connection.close()
    return Probe(True) if answer.status == 200 else Probe(False, _missing(body) or f"{url} answers {answer.status}")


def _missing(body: bytes) -> str:
    """The conditions that do not hold (see ``runtime.health``)."""
    try:
        conditions = json.loads(body)["conditions"]
        return "; ".join(f"{name}: {state}" for name, state in conditions.items() if state != "ok")
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
