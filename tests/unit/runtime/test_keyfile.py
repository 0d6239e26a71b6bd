import json
import stat
from pathlib import Path

import pytest

from contracts.api_keys import generate
from contracts.identity import Scope
from runtime.keyfile import InvalidKeyFile, read_keys, write_keys


def test_what_is_written_is_read(tmp_path: Path) -> None:
    _, one = generate("t1", ["p1", "p2"], [Scope.INGEST], label="ü")
    _, two = generate("t2", None, list(Scope), expires_at=12.5)
    write_keys(tmp_path / "keys.json", [one, two])
    assert read_keys(tmp_path / "keys.json") == {one.key_id: one, two.key_id: two}


def test_only_the_owner_may_read_it_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys.json", [])
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]


def test_the_key_itself_is_not_in_it(tmp_path: Path) -> None:
    text, stored = generate("t", None, list(Scope))
    write_keys(tmp_path / "keys.json", [stored])
    assert text.split("_")[2][:32] not in (tmp_path / "keys.json").read_text()


_, STORED = generate("t", None, [Scope.QUERY])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not of the form"),
        ('{"keys": 1}', "is not of the form"),
        ('{"keys": [1]}', "entry 0 is not a stored key"),
        ('{"keys": [{"key_id": "a"}]}', "entry 0 is not a stored key"),
        (json.dumps({"keys": [STORED.to_json(), {**STORED.to_json(), "scopes": ["root"]}]}), "entry 1 is not"),
        (json.dumps({"keys": [{**STORED.to_json(), "expires_at": 10**400}]}), "entry 0 is not a stored key"),
        (json.dumps({"keys": [STORED.to_json(), STORED.to_json()]}), "entry 1 repeats the key id"),
    ],
)
def test_a_damaged_file_is_named_and_not_quoted(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(InvalidKeyFile) as caught:
        read_keys(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert STORED.secret_hash not in str(caught.value)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeyFile, match="keys create"):
        read_keys(tmp_path / "keys.json")
