"""The pepper: found or made, told apart from another one, never overwritten."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contracts import api_keys
from contracts.errors import Unauthenticated
from contracts.identity import Scope
from runtime.keyfile import InvalidKeyFile, read_keys, write_keys
from runtime.pepper import find_pepper, make_pepper, pepper_file, pepper_id


def test_it_is_made_once_for_the_owner_only(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    assert find_pepper(keys) == b""
    made = make_pepper(keys)
    assert len(made) >= 32
    assert make_pepper(keys) == find_pepper(keys) == made
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json.pepper"]
    assert stat.S_IMODE(pepper_file(keys).stat().st_mode) == 0o600


def test_a_configured_one_comes_first_and_makes_no_file(tmp_path: Path) -> None:
    assert (
        make_pepper(tmp_path / "keys.json", "configured") == find_pepper(tmp_path / "k", "configured") == b"configured"
    )
    assert not list(tmp_path.iterdir())


def test_processes_that_make_one_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(lambda _: make_pepper(tmp_path / "keys.json"), range(32)))) == 1


def test_a_sealed_file_opens_with_its_pepper_only(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    text, stored = api_keys.generate("t", None, [Scope.QUERY])
    write_keys(path, [stored], b"the right one")
    keys = read_keys(path, b"the right one")
    assert api_keys.check(text, keys, 0.0, b"the right one").tenant_id == "t"
    assert stored.secret_hash not in path.read_text(), "the digest itself is not stored"
    with pytest.raises(InvalidKeyFile, match="another pepper"):
        read_keys(path, b"another")
    with pytest.raises(InvalidKeyFile, match="GATEWAY_KEYS_PEPPER"):
        read_keys(path, b"")
    with pytest.raises(Unauthenticated, match="unknown"):
        api_keys.check(text, keys, 0.0, b"another")
    assert pepper_id(b"another") != pepper_id(b"the right one")


def test_keys_of_older_files_work_and_are_sealed_without_their_secret(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    text, stored = api_keys.generate("t", None, [Scope.QUERY])
    write_keys(path, [stored])  # as older versions did
    old = read_keys(path, b"")
    assert not old[stored.key_id].is_sealed
    assert api_keys.check(text, old, 0.0, b"whatever").tenant_id == "t"
    write_keys(path, old.values(), b"pepper")
    assert api_keys.check(text, read_keys(path, b"pepper"), 0.0, b"pepper").tenant_id == "t"


def test_an_entrys_hash_is_of_no_use_in_another_entry() -> None:
    text, mine = api_keys.generate("mine", None, [Scope.QUERY])
    _, other = api_keys.generate("other", None, list(Scope))
    mine, other = mine.sealed(b"p"), other.sealed(b"p")
    moved = api_keys.StoredKey(other.key_id, mine.secret_hash, other.identity)
    secret = text.split("_")[2][:-7]
    body = f"ck_{other.key_id}_{secret}"
    with pytest.raises(Unauthenticated, match="unknown"):
        api_keys.check(body + api_keys._checksum(body), {other.key_id: moved}, 0.0, b"p")
