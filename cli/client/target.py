"""Which gateway a command talks to, and with which key.

First match wins. Endpoint: ``--endpoint``, ``GATEWAY_ENDPOINT``, the gateway's own ``GATEWAY_GRPC_HOST`` and
``GATEWAY_GRPC_PORT``, the local stack, 127.0.0.1:50051. Key: ``--api-key``, ``CHAUKAS_API_KEY`` (what the SDK reads),
the local stack's development key; the last one only for an endpoint on this machine, so that it never travels.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cli.client.usage import WrongUsage
from cli.stack.endpoints import Endpoints, NoStack, load_endpoints

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = "50051"


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway's gRPC door as one caller sees it. The key is never part of ``repr``."""

    endpoint: str
    api_key: str = field(repr=False)
    tls: bool = False

    @property
    def is_local(self) -> bool:
        return is_loopback(self.endpoint)


def is_loopback(endpoint: str) -> bool:
    """Whether `endpoint` (``host:port``) is certainly this machine; names other than ``localhost`` are not resolved."""
    host = endpoint.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def resolve(endpoint: str | None, api_key: str | None, *, tls: bool, environment: Mapping[str, str]) -> Target:
    """Fill in what the caller left out. Raises :class:`WrongUsage` when there is no key or a value cannot be right."""
    stack = _local_stack(environment)
    chosen = endpoint or environment.get("GATEWAY_ENDPOINT") or _from_gateway_settings(environment)
    chosen = chosen or (stack.grpc_target if stack else None) or f"{DEFAULT_HOST}:{DEFAULT_PORT}"
    host, _, port = chosen.rpartition(":")
    if not host or "/" in chosen or not port.isdecimal() or not 0 < int(port) < 65536:
        raise WrongUsage(f"--endpoint {chosen!r} is not host:port (the gRPC door, for example 127.0.0.1:50051)")
    key = api_key or environment.get("CHAUKAS_API_KEY")
    if not key and stack is not None and is_loopback(chosen):
        key = stack.api_key
    if not key:
        raise WrongUsage(
            f"no API key for {chosen}: give --api-key or set CHAUKAS_API_KEY "
            "(a stack started here with `chaukas-gateway up` brings its own)"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise WrongUsage("the API key holds characters no key has (spaces or control characters)")
    return Target(chosen, key, tls)


def _from_gateway_settings(environment: Mapping[str, str]) -> str | None:
    host, port = environment.get("GATEWAY_GRPC_HOST"), environment.get("GATEWAY_GRPC_PORT")
    if not host and not port:
        return None
    host = host or DEFAULT_HOST
    if host in ("0.0.0.0", "::", "[::]"):  # noqa: S104 - a listener's wildcard is no address to call
        host = DEFAULT_HOST
    return f"{host}:{port or DEFAULT_PORT}"


def _local_stack(environment: Mapping[str, str]) -> Endpoints | None:
    try:
        return load_endpoints(Path(environment.get("STACK_DIR") or ".chaukas").expanduser())
    except NoStack:
        return None
