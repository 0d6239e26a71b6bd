"""The stack's directory: usable, and one command at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.stack.errors import StackError

_LOCK_FILE = "stack.lock"


def prepare(directory: Path) -> None:
    """Make the directory (for its owner only) and write into it once. Raises StackError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".writable-"):
            pass
    except OSError as error:
        reason = "it is not a directory" if error.errno in (errno.EEXIST, errno.ENOTDIR) else error.strerror
        raise StackError(
            f"cannot write to the stack's directory {directory}: {reason}\n"
            "Make it writable for you, or set STACK_DIR to another directory."
        ) from None


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """While the body runs, no other command starts or stops this stack. Does not wait. Raises StackError, OSError.

    The lock is the kernel's: it ends with the process, however that ends.
    """
    handle = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(handle, 20, 0).decode(errors="replace").strip() or "?"
            raise StackError(
                f"another command (process {owner}) is starting or stopping the stack in {directory}; wait for it, or end it"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)
