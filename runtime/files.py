"""Files that hold secrets, or that others read while they are written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

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


def version(*paths: Path) -> tuple[tuple[int, int, int] | None, ...]:
    """Differs when one of the files changed (replaced, rewritten); None for one that is not there. Blocks for a look at each."""
    return tuple(_version(path) for path in paths)


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
