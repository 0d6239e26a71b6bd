"""Files that are read again when they change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.files import ReloadedFiles, write_atomic


class Fixture:
    """Two files whose content is a number each; what was refused, and whether it was said before."""

    def __init__(self, directory: Path) -> None:
        self.paths = [directory / "a", directory / "b"]
        for path in self.paths:
            path.write_text("1")
        self.reads = 0
        self.refused: list[tuple[str, bool]] = []
        self.files = ReloadedFiles(
            self.paths,
            self._read,
            (ValueError, OSError),
            lambda problem, is_new: self.refused.append((problem, is_new)),
        )

    def _read(self) -> list[int]:
        self.reads += 1
        return [int(path.read_text()) for path in self.paths]


@pytest.fixture
def fixture(tmp_path: Path) -> Fixture:
    return Fixture(tmp_path)


def test_they_are_read_once_and_again_when_one_changed(fixture: Fixture) -> None:
    assert fixture.files.changed() == [1, 1]
    assert fixture.files.changed() is None
    write_atomic(fixture.paths[1], "2")
    assert fixture.files.changed() == [1, 2]
    assert fixture.files.changed() is None
    assert fixture.reads == 2


def test_a_file_rewritten_with_as_many_bytes_has_changed(fixture: Fixture) -> None:
    fixture.files.read()
    fixture.paths[0].write_text("3")
    os.utime(fixture.paths[0], ns=(0, 0))
    assert fixture.files.changed() == [3, 1]


def test_what_cannot_be_used_is_told_and_tried_again(fixture: Fixture) -> None:
    fixture.files.read()
    write_atomic(fixture.paths[0], "x")
    assert fixture.files.changed() is None
    assert fixture.files.changed() is None
    fixture.paths[0].unlink()
    assert fixture.files.changed() is None
    assert [is_new for _, is_new in fixture.refused] == [True, False, True]
    assert fixture.reads == 4
    write_atomic(fixture.paths[0], "4")
    assert fixture.files.changed() == [4, 1]
    write_atomic(fixture.paths[0], "x")
    assert fixture.files.changed() is None
    assert fixture.refused[-1] == (fixture.refused[0][0], True)


def test_whoever_cannot_go_on_without_them_is_told_by_the_error(fixture: Fixture) -> None:
    fixture.paths[0].unlink()
    with pytest.raises(OSError, match="No such file"):
        fixture.files.read()
    assert fixture.refused == []
