"""The file of API keys (``GATEWAY_KEYS_FILE``): ``{"keys": [<StoredKey.to_json()>, …]}``, readable for its owner only.

It holds hashes of the secrets, never a key itself. The gateway reads it, ``chaukas-gateway up`` and ``chaukas-gateway keys``
write it; writing replaces the file in one step, so a reader never sees half of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from contracts.api_keys import StoredKey
from runtime.files import write_atomic


class InvalidKeyFile(Exception):
    """The key file cannot be read or is not what :func:`write_keys` writes; the message names the file and the entry."""


def read_keys(path: Path) -> dict[str, StoredKey]:
    """The keys by key id. Blocks for one read. Raises :class:`InvalidKeyFile`; its message holds no content of the file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidKeyFile(f"{path} does not exist; create a key with `chaukas-gateway keys create`") from None
    except OSError as error:
        raise InvalidKeyFile(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise InvalidKeyFile(f"{path} is not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise InvalidKeyFile(f'{path} is not of the form {{"keys": [...]}}')
    keys: dict[str, StoredKey] = {}
    for index, entry in enumerate(entries):
        try:
            key = StoredKey.from_json(entry)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InvalidKeyFile(f"{path}: entry {index} is not a stored key") from None
        if key.key_id in keys:
            raise InvalidKeyFile(f"{path}: entry {index} repeats the key id {key.key_id}")
        keys[key.key_id] = key
    return keys


def write_keys(path: Path, keys: Iterable[StoredKey]) -> None:
    """Replace the file by these keys. Raises OSError."""
    document = {"keys": [key.to_json() for key in keys]}
    write_atomic(path, json.dumps(document, indent=2) + "\n")
