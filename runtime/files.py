"""Files that hold secrets, that others read while they are written, or that are read again when they change."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

#: Readable and writable for the owner only.
OWNER_ONLY = 0o600


def write_atomic(path: Path, text: str, mode: int = OWNER_ONLY) -> None:
    """Replace `path` in one step: a reader sees the old text or the new one, never a part. Raises OSError."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


class ReloadedFiles(Generic[T]):
    """What `read` makes of the files at `paths`, made again when one of them changes.

    `read` raises one of `errors` for files that cannot be used; then `refused` gets the message, and whether it is another than the
    last time, and the next look reads them again.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        read: Callable[[], T],
        errors: tuple[type[Exception], ...],
        refused: Callable[[str, bool], None],
    ) -> None:
        self._paths = paths
        self._read = read
        self._errors = errors
        self._refused = refused
        self._version: object = None
        self._problem = ""

    def read(self) -> T:
        """Whether they changed or not. Blocks for a read. Raises what `read` raises."""
        found = [_version(path) for path in self._paths]
        loaded = self._read()
        self._version, self._problem = found, ""
        return loaded

    def changed(self) -> T | None:
        """None when they are what they were at the last read that succeeded, or cannot be used. Blocks for a look, or a read."""
        if [_version(path) for path in self._paths] == self._version:
            return None
        try:
            return self.read()
        except self._errors as error:
            is_new = str(error) != self._problem
            self._problem = str(error)
            self._refused(self._problem, is_new)
            return None


def _version(path: Path) -> tuple[int, int, int] | None:
    """Differs when the file was replaced or rewritten; None when it is not there. Blocks for a look."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
