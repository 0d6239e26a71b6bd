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
from typing import Any

import grpc

from cli.client.usage import WrongUsage
from cli.stack.endpoints import Endpoints, NoStack, load_endpoints
from runtime.tls import ClientCertificates, TlsFiles, UnusableCertificate

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = "50051"


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway's gRPC door as one caller sees it. The key is never part of ``repr``."""

    endpoint: str
    api_key: str = field(repr=False)
    tls: bool = False
    #: Of the server's CA, and of the client's own certificate.
    files: TlsFiles = field(default_factory=TlsFiles)

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


def resolve(
    endpoint: str | None,
    api_key: str | None,
    *,
    tls: bool,
    environment: Mapping[str, str],
    ca_file: Path | None = None,
) -> Target:
    """Fill in what the caller left out. Raises :class:`WrongUsage` when there is no key or a value cannot be right.

    TLS is spoken when it was asked for: by `tls`, by ``https://`` before the endpoint, or by files that only TLS needs.
    """
    stack = _local_stack(environment)
    chosen = endpoint or environment.get("GATEWAY_ENDPOINT") or _from_gateway_settings(environment)
    chosen = chosen or (stack.grpc_target if stack else None) or f"{DEFAULT_HOST}:{DEFAULT_PORT}"
    files = files_of(environment, "GATEWAY_ENDPOINT", ca_file)
    if chosen.startswith("https://"):
        chosen, tls = chosen.removeprefix("https://").rstrip("/"), True
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
    return Target(chosen, key, tls or bool(files.present()), files)


def files_of(environment: Mapping[str, str], prefix: str, ca_file: Path | None = None) -> TlsFiles:
    """The files that `prefix`_CA_FILE, …_CERT_FILE and …_KEY_FILE name; `ca_file` comes first. Raises :class:`WrongUsage`."""

    def named(what: str) -> Path | None:
        value = environment.get(f"{prefix}_{what}_FILE")
        return Path(value) if value else None

    files = TlsFiles(named("CERT"), named("KEY"), ca_file or named("CA"))
    if (files.cert is None) != (files.key is None):
        raise WrongUsage(f"{prefix}_CERT_FILE and {prefix}_KEY_FILE go together")
    return files


def channel(target: Target, options: list[tuple[str, Any]]) -> grpc.Channel:
    """A channel to `target`, connecting when first used. Raises :class:`WrongUsage` for files that cannot be used."""
    if target.is_local:
        options = [*options, ("grpc.enable_http_proxy", 0)]
    if not target.tls:
        return grpc.insecure_channel(target.endpoint, options)
    try:
        credentials = ClientCertificates(target.files).credentials
    except UnusableCertificate as error:
        raise WrongUsage(str(error)) from None
    return grpc.secure_channel(target.endpoint, credentials, options)


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
