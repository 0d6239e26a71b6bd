"""Keys are read again when they change, and a broken file takes nobody's key away."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts import api_keys
from contracts.errors import PermissionDenied, Unauthenticated
from contracts.identity import Scope
from gateway.auth import RELOAD_SECONDS, Authenticator
from gateway.key_store import KeyStore
from gateway.metrics import GatewayMetrics
from runtime.health import Readiness
from runtime.keyfile import write_keys
from runtime.pepper import pepper_file


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Fixture:
    def __init__(self, directory: Path) -> None:
        self.path = directory / "keys.json"
        self.clock = Clock()
        self.readiness = Readiness()
        self.metrics = GatewayMetrics()

    def keys(self) -> Authenticator:
        store = KeyStore(self.path, self.readiness, self.metrics)
        return Authenticator([store], clock=self.clock, monotonic=self.clock)

    def later(self) -> None:
        self.clock.now += RELOAD_SECONDS


@pytest.fixture
def fixture(tmp_path: Path) -> Fixture:
    return Fixture(tmp_path)


def test_a_known_key_is_its_identity_with_any_spelling_of_bearer(fixture: Fixture) -> None:
    key, stored = api_keys.generate("t", ["p"], [Scope.INGEST])
    write_keys(fixture.path, [stored])
    keys = fixture.keys()
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert keys.identify(f"{scheme} {key}", Scope.INGEST) == stored.identity
    assert fixture.readiness.ready
    with pytest.raises(PermissionDenied, match="query"):
        keys.identify(f"Bearer {key}", Scope.QUERY)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer  ", "ck_x", "Basic ck_x", "Bearer ck_x"])
def test_anything_else_is_nobody(fixture: Fixture, header: str | None) -> None:
    write_keys(fixture.path, [])
    with pytest.raises(Unauthenticated):
        fixture.keys().identify(header)


def test_a_verified_key_stops_when_it_is_revoked(fixture: Fixture) -> None:
    key, stored = api_keys.generate("t", None, [Scope.INGEST])
    write_keys(fixture.path, [stored])
    keys = fixture.keys()
    keys.identify(f"Bearer {key}")
    write_keys(fixture.path, [])
    keys.identify(f"Bearer {key}")
    fixture.later()
    with pytest.raises(Unauthenticated):
        keys.identify(f"Bearer {key}")


def test_a_verified_key_stops_when_it_expires(fixture: Fixture) -> None:
    key, stored = api_keys.generate("t", None, [Scope.INGEST], expires_at=fixture.clock.now + 10)
    write_keys(fixture.path, [stored])
    keys = fixture.keys()
    keys.identify(f"Bearer {key}")
    fixture.clock.now += 10
    with pytest.raises(Unauthenticated, match="expired"):
        keys.identify(f"Bearer {key}")


def test_a_file_that_breaks_keeps_the_keys_in_force_and_says_so(fixture: Fixture) -> None:
    key, stored = api_keys.generate("t", None, [Scope.INGEST])
    write_keys(fixture.path, [stored])
    keys = fixture.keys()
    for broken in ("{", None):
        if broken is None:
            fixture.path.unlink()
        else:
            fixture.path.write_text(broken)
        fixture.later()
        keys.identify(f"Bearer {key}")
        assert not fixture.readiness.ready
        assert str(fixture.path) in fixture.readiness.describe()["keys"]
    write_keys(fixture.path, [stored])
    fixture.later()
    keys.identify(f"Bearer {key}")
    assert fixture.readiness.ready
    assert fixture.metrics.registry.get_sample_value("gateway_key_reload_failures_total") == 2


def test_only_so_many_callers_are_remembered(fixture: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.auth._REMEMBERED", 3)
    made = [api_keys.generate(f"t{number}", None, [Scope.INGEST]) for number in range(10)]
    write_keys(fixture.path, [stored for _, stored in made])
    keys = fixture.keys()
    for _ in range(2):
        for number, (key, _) in enumerate(made):
            assert keys.identify(f"Bearer {key}").tenant_id == f"t{number}"
    assert len(keys._verified) == 3


def test_who_is_refused_is_not_remembered(fixture: Fixture) -> None:
    write_keys(fixture.path, [])
    keys = fixture.keys()
    for number in range(100):
        with pytest.raises(Unauthenticated):
            keys.identify(f"Bearer ck_{number}")
    assert not keys._verified


def test_a_pepper_that_is_missing_or_wrong_is_said_and_takes_nobodys_key_away(fixture: Fixture) -> None:
    key, stored = api_keys.generate("t", None, [Scope.INGEST])
    pepper_file(fixture.path).write_text("p" * 32)
    write_keys(fixture.path, [stored], b"p" * 32)
    keys = fixture.keys()
    keys.identify(f"Bearer {key}")
    for change in (lambda: pepper_file(fixture.path).write_text("q" * 32), pepper_file(fixture.path).unlink):
        change()
        fixture.later()
        keys.identify(f"Bearer {key}")
        assert "pepper" in fixture.readiness.describe()["keys"]
    pepper_file(fixture.path).write_text("p" * 32)
    fixture.later()
    keys.identify(f"Bearer {key}")
    assert fixture.readiness.ready


def test_a_file_that_comes_later_is_found(fixture: Fixture) -> None:
    keys = fixture.keys()
    assert not fixture.readiness.ready
    key, stored = api_keys.generate("t", None, [Scope.INGEST])
    write_keys(fixture.path, [stored])
    fixture.later()
    assert keys.identify(f"Bearer {key}").tenant_id == "t"
