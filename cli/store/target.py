"""Which sink a command talks to, and with which token.

First match wins. Address: ``--sink``, ``GATEWAY_SINK_TARGET``, the sink's own ``SINK_GRPC_HOST`` and ``SINK_GRPC_PORT``, the
local stack, 127.0.0.1:50052. Token: ``SINK_ADMIN_TOKEN``, the local stack's; the last one only for an address on this machine,
so that it never travels. TLS as the gateway: ``GATEWAY_SINK_TLS``, ``…_CA_FILE``, ``…_CERT_FILE``, ``…_KEY_FILE``. There is no option for the token: options are visible to other users of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cli.client.target import Target, files_of, is_loopback
from cli.client.usage import WrongUsage
from cli.stack.credentials import ADMIN_TOKEN_FILE
from cli.stack.ports import reachable
from cli.stack.record import load_record

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", "50052"


def resolve(sink: str | None, environment: Mapping[str, str]) -> Target:
    """Fill in what the caller left out; `api_key` is the admin token. Raises :class:`WrongUsage`."""
    directory = Path(environment.get("STACK_DIR") or ".chaukas").expanduser()
    chosen = sink or environment.get("GATEWAY_SINK_TARGET") or _from_sink_settings(environment)
    chosen = chosen or _of_stack(directory) or f"{DEFAULT_HOST}:{DEFAULT_PORT}"
    host, _, port = chosen.rpartition(":")
    if not host or "/" in chosen or not port.isdecimal() or not 0 < int(port) < 65536:
        raise WrongUsage(f"--sink {chosen!r} is not host:port (the sink's gRPC port, for example 127.0.0.1:50052)")
    token = environment.get("SINK_ADMIN_TOKEN", "")
    if not token and is_loopback(chosen):
        token = _token_of_stack(directory)
    if not token:
        raise WrongUsage(
            f"no admin token for {chosen}: set SINK_ADMIN_TOKEN to the sink's "
            "(a stack started here with `chaukas-gateway up` brings its own)"
        )
    if not (token.isascii() and token.isprintable()):
        raise WrongUsage("SINK_ADMIN_TOKEN holds characters no token has (control or non-ASCII characters)")
    files = files_of(environment, "GATEWAY_SINK")
    tls = environment.get("GATEWAY_SINK_TLS", "").lower() in ("1", "true", "yes", "on")
    return Target(chosen, token, tls or bool(files.present()), files)


def _from_sink_settings(environment: Mapping[str, str]) -> str | None:
    host, port = environment.get("SINK_GRPC_HOST"), environment.get("SINK_GRPC_PORT")
    return _address(host or DEFAULT_HOST, port or DEFAULT_PORT) if host or port else None


def _of_stack(directory: Path) -> str | None:
    record = load_record(directory)
    port = record.ports.get("SINK_GRPC_PORT") if record is not None else None
    return None if port is None else f"{DEFAULT_HOST}:{port}"


def _address(host: str, port: str) -> str:
    name = reachable(host)
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _token_of_stack(directory: Path) -> str:
    try:
        return (directory / ADMIN_TOKEN_FILE).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
