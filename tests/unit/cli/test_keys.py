"""`keys create|list|rotate|revoke` on a file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.keys import _changing
from cli.main import app
from contracts import api_keys
from contracts.errors import Unauthenticated
from contracts.identity import Identity, Scope
from runtime.keyfile import read_keys, write_keys
from runtime.pepper import find_pepper


class Keys:
    """The commands on one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, *arguments: str, fails: bool = False) -> Result:
        result = CliRunner().invoke(app, ["keys", *arguments, "--file", str(self.path)])
        assert (result.exit_code == 1) is fails, result.output
        return result

    def create(self, *arguments: str) -> str:
        return self("create", "--tenant", "t", *arguments).stdout.strip()

    def check(self, text: str, later: float = 0.0) -> Identity:
        pepper = find_pepper(self.path)
        return api_keys.check(text, read_keys(self.path, pepper), time.time() + later, pepper)


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[Keys]:
    yield Keys(tmp_path / "below" / "keys.json")


def key_id(text: str) -> str:
    return text.split("_")[1]


def test_a_key_does_what_was_said(keys: Keys) -> None:
    text = keys.create("--project", "p", "--project", "q", "--scope", "query", "--label", "for me", "--days", "2")
    identity = keys.check(text)
    assert (identity.tenant_id, identity.projects, identity.scopes) == (
        "t",
        frozenset({"p", "q"}),
        frozenset({Scope.QUERY}),
    )
    with pytest.raises(Unauthenticated, match="expired"):
        keys.check(text, later=2 * 86_400 + 1)
    listed = keys("list").stdout
    assert f"{key_id(text)}  t  p,q  query  until " in listed
    assert listed.rstrip().endswith("for me")


def test_nobody_gets_the_scope_admin_unasked(keys: Keys) -> None:
    assert keys.check(keys.create()).scopes == {Scope.INGEST, Scope.QUERY}


def test_it_is_shown_once_and_the_file_holds_no_part_of_it(keys: Keys) -> None:
    secret = keys.create().split("_")[2]
    files = "".join(path.read_text() for path in keys.path.parent.iterdir())
    assert secret[:16] not in files
    assert secret[:16] not in keys("list").stdout


def test_rotation_keeps_rights_and_the_old_key_for_the_grace(keys: Keys) -> None:
    old = keys.create("--project", "p", "--scope", "ingest", "--label", "agent")
    new = keys("rotate", key_id(old), "--grace", "60").stdout.strip()
    assert key_id(new) != key_id(old)
    before, after = keys.check(old), keys.check(new)
    assert (after.tenant_id, after.projects, after.scopes) == (before.tenant_id, before.projects, before.scopes)
    assert read_keys(keys.path)[key_id(new)].label == "agent"
    with pytest.raises(Unauthenticated, match="expired"):
        keys.check(old, later=61)
    assert keys.check(new, later=61)


def test_what_was_rotated_away_is_dropped_later_and_what_just_expired_is_not(keys: Keys) -> None:
    expired, old = keys.create("--days", "0"), keys.create()
    keys("rotate", key_id(old), "--grace", "0.001")
    time.sleep(0.01)
    keys.create()
    assert key_id(old) not in read_keys(keys.path)
    assert key_id(expired) in read_keys(keys.path), "an operator may want to see it"


def test_without_grace_the_old_key_is_gone_at_once(keys: Keys) -> None:
    old = keys.create()
    keys("rotate", key_id(old), "--grace", "0")
    with pytest.raises(Unauthenticated, match="unknown"):
        keys.check(old)


def test_a_grace_does_not_prolong_a_key(keys: Keys) -> None:
    old = keys.create("--days", "0.0001")
    keys("rotate", key_id(old), "--grace", "3600")
    with pytest.raises(Unauthenticated, match="expired"):
        keys.check(old, later=60)


def test_revoking_and_rotating_what_is_not_there(keys: Keys) -> None:
    text = keys.create()
    keys("revoke", key_id(text))
    with pytest.raises(Unauthenticated, match="unknown"):
        keys.check(text)
    for command in ("revoke", "rotate"):
        assert f"no key {key_id(text)}" in keys(command, key_id(text), fails=True).output


def test_commands_at_once_lose_nothing(keys: Keys) -> None:
    first = keys.create()
    # Not through the runner, which swaps the process's streams.
    with ThreadPoolExecutor(8) as threads:

        def add(number: int) -> None:
            with _changing(keys.path) as stored:
                _, entry = api_keys.generate("t", None, [Scope.QUERY], label=str(number))
                stored[entry.key_id] = entry

        list(threads.map(add, range(20)))
    assert len(read_keys(keys.path)) == 21
    assert keys.check(first)


def test_a_file_of_an_older_version_is_sealed_by_the_next_change(keys: Keys) -> None:
    text, stored = api_keys.generate("t", None, [Scope.QUERY])
    keys.path.parent.mkdir()
    write_keys(keys.path, [stored])
    keys.create()
    assert all(entry["secret_hash"].startswith("v2:") for entry in json.loads(keys.path.read_text())["keys"])
    assert keys.check(text).tenant_id == "t"


def test_the_pepper_of_the_settings_is_used(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_KEYS_PEPPER", "p" * 32)
    text = keys.create()
    assert find_pepper(keys.path) == b""
    assert api_keys.check(text, read_keys(keys.path, b"p" * 32), 0.0, b"p" * 32)
    monkeypatch.setenv("GATEWAY_KEYS_PEPPER", "q" * 32)
    assert "another pepper" in keys("create", "--tenant", "t", fails=True).output
    monkeypatch.setenv("GATEWAY_KEYS_PEPPER", "short")
    refused = keys("create", "--tenant", "t", fails=True).output
    assert "GATEWAY_KEYS_PEPPER=****" in refused
    assert "short" not in refused.replace("at least", "")


def test_ids_that_no_event_can_carry_are_refused(keys: Keys) -> None:
    assert "--tenant" in keys("create", "--tenant", "a\nb", fails=True).output
    assert "--tenant" in keys("create", "--tenant", "", fails=True).output
    assert "--project" in keys("create", "--tenant", "t", "--project", "x" * 257, fails=True).output
