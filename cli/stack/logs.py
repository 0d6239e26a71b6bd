"""The processes' log files: the last lines, and following them across rotation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

_BLOCK = 64 * 1024
_POLL_SECONDS = 0.3


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a file, without reading the rest of it. Raises OSError."""
    with path.open("rb") as file:
        position = file.seek(0, 2)
        content = b""
        while position > 0 and content.count(b"\n") <= lines:
            step = min(_BLOCK, position)
            position -= step
            file.seek(position)
            content = file.read(step) + content
    return content.decode(errors="replace").splitlines()[-lines:] if lines > 0 else []


class Follower:
    """New lines of one file. A rotated file (another inode) or a cut one (shorter) is read from its start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode, self._offset = self._now()
        self._rest = b""

    def read(self) -> Iterator[str]:
        """The complete lines since the last call."""
        inode, size = self._now()
        if inode != self._inode or size < self._offset:
            self._inode, self._offset, self._rest = inode, 0, b""
        if size <= self._offset:
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            content = file.read(size - self._offset)
        self._offset += len(content)
        *complete, self._rest = (self._rest + content).split(b"\n")
        for line in complete:
            yield line.decode(errors="replace")

    def _now(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return 0, 0
        return status.st_ino, status.st_size


def follow(paths: list[Path], emit: Callable[[Path, str], None]) -> None:
    """Emit new lines until interrupted (KeyboardInterrupt)."""
    followers = {path: Follower(path) for path in paths}
    while True:
        for path, follower in followers.items():
            for line in follower.read():
                emit(path, line)
        time.sleep(_POLL_SECONDS)
