"""The store: does it answer, which schema has it, how far is its clock?

A ClickHouse server is asked over its HTTP interface. The embedded engine belongs to the sink alone: its status page answers.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from urllib.parse import quote, unquote, urlsplit

from cli.doctor import pages
from cli.doctor.doors import clock
from cli.doctor.findings import Finding, Severity
from cli.doctor.site import Site
from cli.stack.ports import reachable

NAME, SCHEMA = "store", "schema"
_VERSION = re.compile(rb"^sink_schema_version ([0-9.e+]+)$", re.MULTILINE)
_ASK = (
    "SELECT toUnixTimestamp64Milli(now64(3)) AS unix_ms, (SELECT max(version) FROM schema_migrations) AS version "
    "FORMAT JSONEachRow"
)
#: Unknown table, unknown database.
_NO_SCHEMA = (60, 81)
_FOUND = re.compile(rb'"version":"?(\d+)')


def check(site: Site) -> Iterator[Finding]:
    """Blocks for two answers."""
    if site.sink is None:
        yield Finding(NAME, "store", Severity.SKIPPED, "the sink's settings do not load")
        return
    host, port = reachable(site.sink.http_host), site.sink.http_port
    metrics = pages.get(host, port, "/metrics")
    match = _VERSION.search(metrics.body)
    sink = int(float(match[1])) or None if match else None  # 0: it has not come so far
    dsn = site.sink.clickhouse_dsn.get_secret_value()
    if dsn.startswith("chdb:"):
        if sink is None:
            yield Finding(
                SCHEMA, "embedded engine", Severity.SKIPPED, "only the sink can look into it, and it does not say"
            )
        else:
            yield Finding(SCHEMA, "embedded engine", Severity.OK, f"migration {sink}, as the running sink has it")
        return
    yield from _server(dsn, sink)


def _server(dsn: str, sink: int | None) -> Iterator[Finding]:
    try:
        parts = urlsplit(dsn)
        port, host, secure = parts.port, parts.hostname or "", parts.scheme == "clickhouses"
    except ValueError:
        yield Finding(NAME, "store", Severity.ERROR, "CLICKHOUSE_DSN is not a URL", "docs/settings.md has the form")
        return
    port = port or (8443 if secure else 8123)
    where = f"ClickHouse {host}:{port}"
    user, password = unquote(parts.username or "default"), unquote(parts.password or "")
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    database = unquote(parts.path.strip("/")) or "default"
    path = f"/?database={quote(database, safe='')}"
    page = pages.get(host, port, path, {"Authorization": f"Basic {token}"}, body=_ASK.encode(), secure=secure)
    code = _code(page.body) if page.problem else 0
    if page.problem and code not in _NO_SCHEMA:
        message = page.problem + (f" (ClickHouse error {code})" if code else "")
        remedy = "does the server run, and are host, user, password and database of CLICKHOUSE_DSN right?"
        yield Finding(NAME, where, Severity.ERROR, message, remedy)
        return
    yield Finding(NAME, where, Severity.OK, "answers")
    if not page.problem:
        yield clock(where, page)
    found = _FOUND.search(page.body)
    yield schema(int(found[1]) if found else 0, sink)


def schema(store: int, sink: int | None) -> Finding:
    """The migration the store has against the one the running sink knows."""
    subject = "ClickHouse"
    if not store:
        return Finding(
            SCHEMA, subject, Severity.ERROR, "the store has no schema", "start the sink: it migrates by itself"
        )
    if sink is not None and store > sink:
        message = f"the store has migration {store}, the running sink knows {sink}"
        return Finding(
            SCHEMA, subject, Severity.WARNING, message, "a newer release has migrated it: run that one everywhere"
        )
    if sink is not None and store < sink:
        message = f"the store has migration {store}, the running sink needs {sink}"
        return Finding(
            SCHEMA, subject, Severity.ERROR, message, "was the store replaced? restart the sink: it migrates"
        )
    return Finding(SCHEMA, subject, Severity.OK, f"migration {store}" + ("" if sink else "; the sink was not asked"))


def _code(body: bytes) -> int:
    """The number of ClickHouse's error, 0 for anything else; its text may repeat what was sent."""
    match = re.search(rb"Code: (\d+)", body[:200])
    return int(match[1]) if match else 0
