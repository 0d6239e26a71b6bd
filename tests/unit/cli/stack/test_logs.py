from pathlib import Path

import pytest

from cli.stack import logs
from cli.stack.logs import Follower, tail


@pytest.mark.parametrize("block", [3, 64 * 1024])
def test_tail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(logs, "_BLOCK", block)
    path = tmp_path / "x.log"
    path.write_text("one\ntwo\nthree ü\n")
    assert tail(path, 2) == ["two", "three ü"]
    assert tail(path, 3) == tail(path, 99) == ["one", "two", "three ü"]
    assert tail(path, 0) == []
    path.write_text("cut off\nhere")
    assert tail(path, 1) == ["here"]
    path.write_bytes(b"")
    assert tail(path, 5) == []


def test_following_gives_complete_new_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("old\n")
    follower = Follower(path)
    assert list(follower.read()) == []
    with path.open("a") as file:
        file.write("new\nhal")
    assert list(follower.read()) == ["new"]
    with path.open("a") as file:
        file.write("f\n")
    assert list(follower.read()) == ["half"]


def test_following_goes_on_in_the_new_file_after_rotation(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("a long first file\n")
    follower = Follower(path)
    path.rename(tmp_path / "x.log.1")
    assert list(follower.read()) == []
    path.write_text("a longer line than everything before it\n")
    assert list(follower.read()) == ["a longer line than everything before it"]


def test_following_waits_for_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "x.log")
    assert list(follower.read()) == []
    (tmp_path / "x.log").write_text("first\n")
    assert list(follower.read()) == ["first"]
