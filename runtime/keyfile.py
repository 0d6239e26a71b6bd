"""The file of API keys (``GATEWAY_KEYS_FILE``): ``{"keys": [<StoredKey.to_json()>, …], "pepper_id": …}``, readable for its owner only.

It holds sealed hashes of the secrets, never a key itself. The gateway reads it, ``chaukas-gateway up`` and ``chaukas-gateway
keys`` write it; writing replaces the file in one step, so a reader never sees half of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from contracts.api_keys import StoredKey
from runtime.files import OWNER_ONLY, write_atomic
from runtime.pepper import pepper_file, pepper_id


class InvalidKeyFile(Exception):
    """The key file cannot be read or is not what :func:`write_keys` writes; the message names the file and the entry."""


def read_keys(path: Path, pepper: bytes | None = None) -> dict[str, StoredKey]:
    """The keys by key id. Blocks for one read. Raises :class:`InvalidKeyFile`; its message holds no content of the file.

    With `pepper` (even an empty one) its keys must be checkable with that; None: they are only looked at.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidKeyFile(f"{path} does not exist; create a key with `chaukas-gateway keys create`") from None
    except OSError as error:
        raise InvalidKeyFile(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise InvalidKeyFile(f"{path} is not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise InvalidKeyFile(f'{path} is not of the form {{"keys": [...]}}')
    keys: dict[str, StoredKey] = {}
    for index, entry in enumerate(entries):
        try:
            key = StoredKey.from_json(entry)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise InvalidKeyFile(f"{path}: entry {index} is not a stored key") from None
        if key.key_id in keys:
            raise InvalidKeyFile(f"{path}: entry {index} repeats the key id {key.key_id}")
        keys[key.key_id] = key
    if pepper is not None and any(key.is_sealed for key in keys.values()):
        _check_pepper(path, pepper, document.get("pepper_id"))
    return keys


def write_keys(path: Path, keys: Iterable[StoredKey], pepper: bytes = b"") -> None:
    """Replace the file by these keys, all of them sealed with `pepper` (without one: as they are). Raises OSError."""
    if pepper:
        keys = [key.sealed(pepper) for key in keys]
    document: dict[str, object] = {"keys": [key.to_json() for key in keys]}
    if pepper:
        document["pepper_id"] = pepper_id(pepper)
    write_atomic(path, json.dumps(document, indent=2) + "\n")


@contextlib.contextmanager
def changing(path: Path) -> Iterator[None]:
    """Between reading the file and writing it: two commands at once must not undo each other. Blocks; raises OSError."""
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check_pepper(path: Path, pepper: bytes, wanted: object) -> None:
    if not pepper:
        raise InvalidKeyFile(
            f"{path} is sealed with a pepper that is not here: set GATEWAY_KEYS_PEPPER, or bring {pepper_file(path)}"
        )
    if wanted != pepper_id(pepper):
        raise InvalidKeyFile(
            f"{path} is sealed with another pepper than this one (GATEWAY_KEYS_PEPPER, else {pepper_file(path)})"
        )
