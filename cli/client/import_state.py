"""How far each file of an import is done, kept in a small JSON file, so that another run goes on from there.

A file is known by device and inode, and by the hash of its beginning: a renamed one is found again, one that was replaced or cut
off is begun anew. Beginning anew, or once more after a kill, is safe: every event is stored once.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from cli.client.usage import WrongUsage
from runtime.files import write_atomic

_VERSION = 1
#: What the hash covers of a file at most, bytes.
HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file is done, in bytes and lines; `head` is the sha-256 of its first bytes, of which there were `head_bytes`."""

    bytes: int
    lines: int
    head: str
    head_bytes: int


class State:
    """The positions. Every change is on disk when :meth:`save` returns."""

    def __init__(self, path: Path) -> None:
        """Reads the file if there is one. Raises :class:`WrongUsage` for one that is none of ours."""
        self.path = path
        self._files: dict[str, Position] = {}
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["version"] != _VERSION:
                raise ValueError("another version")
            self._files = {name: Position(**entry) for name, entry in document["files"].items()}
        except FileNotFoundError:
            return
        except OSError as error:
            raise WrongUsage(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise WrongUsage(f"{path} is not the state of an import: name another with --state, or remove it") from None

    def find(self, source: BinaryIO) -> Position:
        """Where to go on in an opened file; its beginning when it is not the one that was seen."""
        known = self._files.get(_identity(source))
        if known is None or os.fstat(source.fileno()).st_size < known.bytes:
            return _START
        return known if _head(source, known.head_bytes)[0] == known.head else _START

    def reached(self, source: BinaryIO, end_bytes: int, lines: int) -> None:
        """Remember how far an opened file is done."""
        head, length = _head(source, min(end_bytes, HEAD_BYTES))
        self._files[_identity(source)] = Position(end_bytes, lines, head, length)

    def save(self) -> None:
        """Raises OSError."""
        document = {"version": _VERSION, "files": {name: asdict(one) for name, one in self._files.items()}}
        write_atomic(self.path, json.dumps(document, indent=1) + "\n")


_START = Position(0, 0, "", 0)


def _identity(source: BinaryIO) -> str:
    found = os.fstat(source.fileno())
    return f"{found.st_dev}:{found.st_ino}"


def _head(source: BinaryIO, length: int) -> tuple[str, int]:
    content = os.pread(source.fileno(), length, 0)
    return hashlib.sha256(content).hexdigest(), len(content)
