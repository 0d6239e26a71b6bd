from __future__ import annotations

from pathlib import Path

import pytest

from sink.dsn import EmbeddedDsn, InvalidDsn, ServerDsn, parse_dsn


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("chdb:///.chaukas/clickhouse", EmbeddedDsn(Path(".chaukas/clickhouse"))),
        ("chdb:////var/lib/gateway", EmbeddedDsn(Path("/var/lib/gateway"))),
        ("chdb:///with%20space", EmbeddedDsn(Path("with space"))),
        ("clickhouse://host", ServerDsn("host", 8123, False, "default", "", "default")),
        ("clickhouses://u:p%40ss@host/audit", ServerDsn("host", 8443, True, "u", "p@ss", "audit")),
        ("clickhouse://host:9999/db/", ServerDsn("host", 9999, False, "default", "", "db")),
        ("clickhouse://[::1]:8123", ServerDsn("::1", 8123, False, "default", "", "default")),
    ],
)
def test_what_a_dsn_means(text: str, wanted: object) -> None:
    assert parse_dsn(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["", "chdb://", "chdb:///", "chdb://host/dir", "http://host", "clickhouse://:secret@", "clickhouse://h:port"],
)
def test_a_wrong_dsn_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidDsn) as caught:
        parse_dsn(text)
    assert "secret" not in str(caught.value)
    assert "CLICKHOUSE_DSN" in str(caught.value)
