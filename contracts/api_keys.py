"""API keys: their shape, how they are stored, how one is checked.

A key is ``ck_<key id>_<secret><checksum>``: the prefix lets secret scanners find leaks, the CRC tells a typing error from
a stranger. Only an HMAC-SHA-256 of the secret is stored. Fast hashing is right here: the secret has 160 bits of entropy, so
there is nothing to guess, and the check is on the hot path.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from contracts.errors import Unauthenticated
from contracts.identity import Identity, Scope

PREFIX = "ck_"
_SECRET_CHARS = 32
_CHECKSUM_CHARS = 7


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One entry of the key store."""

    key_id: str
    secret_hash: str
    identity: Identity
    label: str = ""
    #: Unix seconds; None: never.
    expires_at: float | None = None

    def to_json(self) -> dict[str, Any]:
        projects = self.identity.projects
        return {
            "key_id": self.key_id,
            "secret_hash": self.secret_hash,
            "tenant_id": self.identity.tenant_id,
            "projects": None if projects is None else sorted(projects),
            "scopes": sorted(scope.value for scope in self.identity.scopes),
            "label": self.label,
            "expires_at": self.expires_at,
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> StoredKey:
        """Raises KeyError, TypeError or ValueError for an entry that :meth:`to_json` would not write."""
        projects = entry["projects"]
        if projects is not None and (not isinstance(projects, list) or not all(isinstance(p, str) for p in projects)):
            raise ValueError("projects must be a list of strings or null")
        expires_at = entry.get("expires_at")
        identity = Identity(
            tenant_id=str(entry["tenant_id"]),
            projects=None if projects is None else frozenset(projects),
            scopes=frozenset(Scope(scope) for scope in entry["scopes"]),
            key_id=str(entry["key_id"]),
        )
        return cls(
            key_id=str(entry["key_id"]),
            secret_hash=str(entry["secret_hash"]),
            identity=identity,
            label=str(entry.get("label", "")),
            expires_at=None if expires_at is None else float(expires_at),
        )


def generate(
    tenant_id: str,
    projects: Iterable[str] | None,
    scopes: Iterable[Scope],
    *,
    label: str = "",
    expires_at: float | None = None,
) -> tuple[str, StoredKey]:
    """A new key: the text to show once, and what to store."""
    key_id = secrets.token_hex(6)
    secret = base64.b32encode(secrets.token_bytes(20)).decode().lower()[:_SECRET_CHARS]
    identity = Identity(tenant_id, None if projects is None else frozenset(projects), frozenset(scopes), key_id)
    body = f"{PREFIX}{key_id}_{secret}"
    return body + _checksum(body), StoredKey(key_id, hash_secret(secret), identity, label, expires_at)


def hash_secret(secret: str) -> str:
    return hmac.new(b"chaukas-gateway api key v1", secret.encode(), hashlib.sha256).hexdigest()


def _checksum(body: str) -> str:
    return base64.b32encode(zlib.crc32(body.encode()).to_bytes(4, "big")).decode().lower().rstrip("=")


def check(text: str, store: Mapping[str, StoredKey], now: float) -> Identity:
    """The identity behind `text` at `now` (Unix seconds). Raises :class:`Unauthenticated`; the message never holds the key."""
    body, given = text[:-_CHECKSUM_CHARS], text[-_CHECKSUM_CHARS:]
    parts = body.split("_")
    if not text.isascii() or not text.startswith(PREFIX) or len(parts) != 3:
        raise Unauthenticated("not a Chaukas API key (they start with ck_)")
    if not hmac.compare_digest(_checksum(body), given):
        raise Unauthenticated("the API key is mistyped or cut off (its checksum does not match)")
    stored = store.get(parts[1])
    # The same work for an unknown key id, so that timing does not tell which ids exist.
    expected = stored.secret_hash if stored is not None else "0" * 64
    if not hmac.compare_digest(hash_secret(parts[2]), expected) or stored is None:
        raise Unauthenticated("unknown or revoked API key")
    if stored.expires_at is not None and now >= stored.expires_at:
        raise Unauthenticated("the API key has expired")
    return stored.identity
