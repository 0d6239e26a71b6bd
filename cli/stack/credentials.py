"""The secrets of a local stack, made once and kept in its directory, readable for the owner only."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from cli.stack.endpoints import KEY_FILE
from cli.stack.errors import StackError
from contracts.api_keys import StoredKey, check, generate
from contracts.errors import Unauthenticated
from contracts.identity import Scope
from runtime.files import write_atomic
from runtime.keyfile import InvalidKeyFile, read_keys, write_keys
from runtime.pepper import make_pepper

KEYS_FILE = "keys.json"
_TOKEN_FILE = "sink.token"  # noqa: S105 - a file's name
#: What an operator shows to the sink, for `retention` and `hold`.
ADMIN_TOKEN_FILE = "sink-admin.token"  # noqa: S105 - a file's name
_LABEL = "development, made by `up`"


def development_key(directory: Path, tenant_id: str, pepper: str = "") -> str:
    """A key with every scope and project of `tenant_id`: the one of the last start if it still works, else a new one.

    `pepper`: GATEWAY_KEYS_PEPPER; empty: the file's beside the key file. Other keys in the file stay. Raises StackError when the key file is damaged, OSError when it cannot be written.
    """
    path, plain = directory / KEYS_FILE, directory / KEY_FILE
    stored: dict[str, StoredKey] = {}
    sealing = make_pepper(path, pepper)
    if path.exists():
        try:
            stored = read_keys(path, sealing)
        except InvalidKeyFile as error:
            raise StackError(f"{error}\nRepair that file, or remove it to get a new development key.") from None
    if plain.exists():
        text = plain.read_text(encoding="utf-8").strip()
        try:
            identity = check(text, stored, time.time(), sealing)
        except Unauthenticated:
            pass  # revoked, or the files were edited: a new one is made below
        else:
            if identity.tenant_id == tenant_id:
                return text
    text, entry = generate(tenant_id, None, list(Scope), label=_LABEL)
    kept = [key for key in stored.values() if key.label != _LABEL]
    write_keys(path, [*kept, entry], sealing)
    write_atomic(plain, f"{text}\n")
    return text


def sink_token(directory: Path) -> str:
    """What the gateway shows to the sink. Raises OSError."""
    return _token(directory / _TOKEN_FILE)


def admin_token(directory: Path) -> str:
    """What an operator shows to the sink. Raises OSError."""
    return _token(directory / ADMIN_TOKEN_FILE)


def _token(path: Path) -> str:
    if path.exists() and (token := path.read_text(encoding="utf-8").strip()):
        return token
    token = secrets.token_urlsafe(32)
    write_atomic(path, f"{token}\n")
    return token
