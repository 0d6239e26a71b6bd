"""The pepper: the secret with which the key file's hashes are sealed. One per deployment, kept apart from the key file if that
is to help: ``GATEWAY_KEYS_PEPPER``, or a file beside the key file, made with the first key (for development)."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path

#: What is shorter could be guessed by whoever has the key file.
MIN_CHARS = 32


def pepper_file(keys_file: Path) -> Path:
    return keys_file.with_name(f"{keys_file.name}.pepper")


def find_pepper(keys_file: Path, configured: str = "") -> bytes:
    """`configured`, else what the file beside the key file holds; empty when there is neither. Blocks for one read.

    Raises OSError when the file is there and cannot be read.
    """
    if configured:
        return configured.encode()
    try:
        return pepper_file(keys_file).read_bytes().strip()
    except FileNotFoundError:
        return b""


def make_pepper(keys_file: Path, configured: str = "") -> bytes:
    """As :func:`find_pepper`, but makes the file when there is none, readable for its owner only. Raises OSError."""
    if found := find_pepper(keys_file, configured):
        return found
    path = pepper_file(keys_file)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{secrets.token_urlsafe(32)}\n")
        # Not replaced: of two processes that make one at once, both take the first.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()
    return find_pepper(keys_file)


def pepper_id(pepper: bytes) -> str:
    """Names a pepper without telling it: by this a reader knows that the file was sealed with another one."""
    return hmac.new(pepper, b"chaukas-gateway pepper id", hashlib.sha256).hexdigest()[:16]
