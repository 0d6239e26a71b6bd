"""``CLICKHOUSE_DSN``: which store this process talks to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

_CLUSTER = re.compile(r"^[A-Za-z0-9_.-]{1,100}$")


class InvalidDsn(ValueError):
    """The DSN cannot be used; the message says what is allowed and never repeats the DSN (it may hold a password)."""


@dataclass(frozen=True, slots=True)
class EmbeddedDsn:
    """The embedded engine (chDB) on a directory that this process owns."""

    directory: Path


@dataclass(frozen=True, slots=True)
class ServerDsn:
    """A ClickHouse server or cluster over HTTP."""

    host: str
    port: int
    secure: bool
    username: str
    password: str
    database: str
    #: The cluster's name in the servers' configuration; empty: a single server.
    cluster: str = ""


def parse_dsn(text: str) -> EmbeddedDsn | ServerDsn:
    """``chdb:///directory`` (``chdb:////absolute``) or ``clickhouse[s]://user:password@host:port/database[?cluster=name]``.

    Raises InvalidDsn.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise InvalidDsn("CLICKHOUSE_DSN: not a URL") from None
    cluster = options.pop("cluster", "")
    if options or parts.fragment:
        raise InvalidDsn("CLICKHOUSE_DSN: the only option is ?cluster=name")
    if cluster and not _CLUSTER.match(cluster):
        raise InvalidDsn("CLICKHOUSE_DSN: a cluster's name has letters, digits, '_', '-' and '.' only")
    if parts.scheme == "chdb":
        directory = unquote(parts.path.removeprefix("/"))
        if cluster:
            raise InvalidDsn("CLICKHOUSE_DSN: the embedded engine is no cluster")
        if parts.netloc or not directory:
            raise InvalidDsn(
                "CLICKHOUSE_DSN: chdb:///directory, or chdb:////absolute/directory (three or four slashes)"
            )
        return EmbeddedDsn(Path(directory))
    if parts.scheme in ("clickhouse", "clickhouses"):
        if not parts.hostname:
            raise InvalidDsn("CLICKHOUSE_DSN: names no host")
        secure = parts.scheme == "clickhouses"
        return ServerDsn(
            host=parts.hostname,
            port=port or (8443 if secure else 8123),
            secure=secure,
            username=unquote(parts.username or "default"),
            password=unquote(parts.password or ""),
            database=unquote(parts.path.strip("/")) or "default",
            cluster=cluster,
        )
    raise InvalidDsn("CLICKHOUSE_DSN: must start with chdb://, clickhouse:// or clickhouses://")
