"""A ClickHouse server behind TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from runtime.settings import SinkSettings, load
from sink.migrate import migrate
from sink.store import Store
from tests.support.certificates import Ca
from tests.support.clickhouse_server import clickhouse_server
from tests.support.events import event
from tests.support.stored import Copy, insert_copies
from tests.support.tls_proxy import TlsProxy


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with clickhouse_server(tmp_path_factory.mktemp("server")) as server:
        yield server.port


def test_rows_travel_encrypted_to_a_server_whose_certificate_is_checked(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = Ca(tmp_path)
    proxy = TlsProxy(ca, port)
    dsn = f"clickhouses://someone:secret@127.0.0.1:{proxy.port}/gateway"
    monkeypatch.setenv("CLICKHOUSE_DSN", dsn)
    monkeypatch.setenv("CLICKHOUSE_CA_FILE", str(ca.path))
    settings = load(SinkSettings)
    store = Store.open(settings.clickhouse_dsn.get_secret_value(), ca_file=settings.clickhouse_ca_file)
    try:
        migrate(store.settler)
        insert_copies(store, [Copy(event(event_id="encrypted"))])
        assert store.settler.query("SELECT event_id FROM events").result_rows == [("encrypted",)]
    finally:
        store.close()
    for arguments in (
        {"dsn": dsn},
        {"dsn": dsn, "ca_file": Ca(tmp_path, "stranger").path},
        {"dsn": dsn.replace("clickhouses", "clickhouse")},
    ):
        with pytest.raises((ClickHouseError, OSError)) as caught:
            Store.open(**arguments)
        assert "secret" not in str(caught.value)
    proxy.close()


def test_a_certificate_for_another_host_is_refused(port: int, tmp_path: Path) -> None:
    ca = Ca(tmp_path)
    proxy = TlsProxy(ca, port, "clickhouse.example")
    with pytest.raises((ClickHouseError, OSError), match=r"(?i)certificate"):
        Store.open(f"clickhouses://127.0.0.1:{proxy.port}/gateway", ca_file=ca.path)
    proxy.close()
