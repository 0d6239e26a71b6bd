"""API keys: their shape, how they are stored, how one is checked.

A key is ``ck_<key id>_<secret><checksum>``: the prefix lets secret scanners find leaks, the CRC tells a typing error from
a stranger. What is stored is a digest of the secret, sealed with the deployment's pepper (``v2:…``, docs/adr/0029): whoever
has the file alone can neither use nor make an entry. Fast hashing is right here: the secret has 160 bits of entropy, so there
is nothing to guess, and the check is on the hot path.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from contracts.errors import Unauthenticated
from contracts.identity import NO_LIMITS, Identity, RateLimits, Scope

PREFIX = "ck_"
_SECRET_CHARS = 32
_RATES = ("events_per_second", "bytes_per_second")
_SEALED = "v2:"
_HASH = re.compile(r"(v2:)?[0-9a-f]{64}")
_CHECKSUM_CHARS = 7


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One entry of the key store."""

    key_id: str
    #: ``v2:`` and the sealed digest; the bare digest in files of older versions.
    secret_hash: str
    identity: Identity
    label: str = ""
    #: Unix seconds; None: never.
    expires_at: float | None = None
    #: Expires because another key took its place.
    rotated: bool = False

    @property
    def is_sealed(self) -> bool:
        return self.secret_hash.startswith(_SEALED)

    def sealed(self, pepper: bytes) -> StoredKey:
        """This entry with its digest sealed. The secret is not needed, so entries of older versions can be sealed too."""
        return self if self.is_sealed else replace(self, secret_hash=_seal(self.secret_hash, self.key_id, pepper))

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
            **({"rotated": True} if self.rotated else {}),
            **{name: rate for name in _RATES if (rate := getattr(self.identity.limits, name)) is not None},
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> StoredKey:
        """Raises KeyError, TypeError or ValueError for an entry that :meth:`to_json` would not write."""
        projects = entry["projects"]
        if projects is not None and (not isinstance(projects, list) or not all(isinstance(p, str) for p in projects)):
            raise ValueError("projects must be a list of strings or null")
        if not _HASH.fullmatch(str(entry["secret_hash"])):
            raise ValueError("secret_hash has a form that this version does not know")
        expires_at = entry.get("expires_at")
        identity = Identity(
            tenant_id=str(entry["tenant_id"]),
            projects=None if projects is None else frozenset(projects),
            scopes=frozenset(Scope(scope) for scope in entry["scopes"]),
            key_id=str(entry["key_id"]),
            limits=RateLimits(**{name: _rate(entry.get(name)) for name in _RATES}),
        )
        return cls(
            key_id=str(entry["key_id"]),
            secret_hash=str(entry["secret_hash"]),
            identity=identity,
            label=str(entry.get("label", "")),
            expires_at=None if expires_at is None else float(expires_at),
            rotated=bool(entry.get("rotated", False)),
        )


def _rate(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ValueError("a rate must be a number above 0")
    return float(value)


def generate(
    tenant_id: str,
    projects: Iterable[str] | None,
    scopes: Iterable[Scope],
    *,
    label: str = "",
    expires_at: float | None = None,
    limits: RateLimits = NO_LIMITS,
) -> tuple[str, StoredKey]:
    """A new key: the text to show once, and what to store once it is :meth:`StoredKey.sealed`."""
    key_id = secrets.token_hex(6)
    secret = base64.b32encode(secrets.token_bytes(20)).decode().lower()[:_SECRET_CHARS]
    identity = Identity(tenant_id, None if projects is None else frozenset(projects), frozenset(scopes), key_id, limits)
    body = f"{PREFIX}{key_id}_{secret}"
    return body + _checksum(body), StoredKey(key_id, hash_secret(secret), identity, label, expires_at)


def hash_secret(secret: str) -> str:
    """The digest that is sealed; stored as it is by versions before 0.2."""
    return hmac.new(b"chaukas-gateway api key v1", secret.encode(), hashlib.sha256).hexdigest()


def _seal(digest: str, key_id: str, pepper: bytes) -> str:
    # With the key id in it, an entry's hash is of no use in another entry.
    return _SEALED + hmac.new(pepper, f"{key_id}:{digest}".encode(), hashlib.sha256).hexdigest()


def _checksum(body: str) -> str:
    return base64.b32encode(zlib.crc32(body.encode()).to_bytes(4, "big")).decode().lower().rstrip("=")


def check(text: str, store: Mapping[str, StoredKey], now: float, pepper: bytes = b"") -> Identity:
    """The identity behind `text` at `now` (Unix seconds). Raises :class:`Unauthenticated`; the message never holds the key.

    `pepper` is the one that the entries of `store` were sealed with.
    """
    body, given = text[:-_CHECKSUM_CHARS], text[-_CHECKSUM_CHARS:]
    parts = body.split("_")
    if not text.isascii() or not text.startswith(PREFIX) or len(parts) != 3:
        raise Unauthenticated("not a Chaukas API key (they start with ck_)")
    if not hmac.compare_digest(_checksum(body), given):
        raise Unauthenticated("the API key is mistyped or cut off (its checksum does not match)")
    stored = store.get(parts[1])
    # The same work and the same words for an unknown key id and for a wrong secret: nobody learns which ids exist.
    digest = hash_secret(parts[2])
    sealed = _seal(digest, parts[1], pepper)
    expected = stored.secret_hash if stored is not None else _SEALED + "0" * 64
    shown = sealed if stored is None or stored.is_sealed else digest
    if not hmac.compare_digest(shown, expected) or stored is None:
        raise Unauthenticated("unknown or revoked API key")
    if stored.expires_at is not None and now >= stored.expires_at:
        raise Unauthenticated("the API key has expired")
    return stored.identity
