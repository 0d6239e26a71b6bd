import stat
import time
from pathlib import Path

import pytest

from cli.stack.credentials import admin_token, development_key, sink_token
from cli.stack.errors import StackError
from contracts.api_keys import check, generate
from contracts.identity import Scope
from runtime.keyfile import read_keys, write_keys
from runtime.pepper import find_pepper


def test_the_key_works_and_is_kept(tmp_path: Path) -> None:
    key = development_key(tmp_path, "demo-tenant")
    identity = check(key, read_keys(tmp_path / "keys.json"), time.time(), find_pepper(tmp_path / "keys.json"))
    assert identity.tenant_id == "demo-tenant"
    assert identity.projects is None
    assert identity.scopes == frozenset(Scope)
    assert development_key(tmp_path, "demo-tenant") == key


def test_another_tenant_gets_another_key_and_only_that_one_is_left(tmp_path: Path) -> None:
    development_key(tmp_path, "one")
    key = development_key(tmp_path, "two")
    keys = read_keys(tmp_path / "keys.json")
    assert check(key, keys, 0, find_pepper(tmp_path / "keys.json")).tenant_id == "two"
    assert len(keys) == 1


def test_a_revoked_key_is_replaced_and_other_keys_stay(tmp_path: Path) -> None:
    key = development_key(tmp_path, "t")
    _, mine = generate("mine", None, list(Scope), label="mine")
    write_keys(tmp_path / "keys.json", [mine])
    renewed = development_key(tmp_path, "t")
    keys = read_keys(tmp_path / "keys.json")
    assert renewed != key
    assert check(renewed, keys, 0, find_pepper(tmp_path / "keys.json")).tenant_id == "t"
    assert mine.key_id in keys


def test_a_damaged_key_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(StackError, match=r"keys.json is not JSON\n.*remove it"):
        development_key(tmp_path, "t")
    assert (tmp_path / "keys.json").read_text() == "{"


def test_secrets_are_for_the_owner_only(tmp_path: Path) -> None:
    development_key(tmp_path, "t")
    token = sink_token(tmp_path)
    assert sink_token(tmp_path) == token
    assert len(token) >= 32
    assert admin_token(tmp_path) == admin_token(tmp_path) != token
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
