"""Tokens of an OIDC issuer (JWT access tokens), instead of API keys or beside them.

The signature is checked with a public key of the JWKS file, by an algorithm of the list and of that key's kind; then issuer,
audience and times. Claims name tenant, projects and scopes; what a token does not name it does not have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import KeySet

from contracts.errors import Unauthenticated
from contracts.identity import Identity, Scope
from contracts.validation import id_problem
from gateway.auth import Verified
from gateway.credential_file import CredentialFile
from gateway.metrics import GatewayMetrics
from runtime.health import Readiness
from runtime.logs import get_logger

#: Value of the projects claim for all projects of the tenant.
ALL_PROJECTS = "*"
_PRIVATE = frozenset({"d", "p", "q", "k"})
_MAX_TOKEN_CHARS = 16_384

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must be, and where it says what."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    #: Clocks may differ by this, seconds.
    leeway_seconds: int
    tenant_claim: str
    #: Empty: every token is for all projects.
    projects_claim: str
    scopes_claim: str


class InvalidJwks(Exception):
    """The JWKS file cannot be used; the message names it and holds no content of it."""


class TokenStore:
    """Verifies an issuer's tokens with the keys of one file."""

    def __init__(self, path: Path, rules: TokenRules, readiness: Readiness, metrics: GatewayMetrics) -> None:
        self._rules = rules
        self._keys: KeySet | None = None
        self._file = CredentialFile((path,), lambda: read_jwks(path), (InvalidJwks,), "oidc", readiness, metrics)
        # Names that are not in the registry of headers are ignored, as RFC 7515 wants it; those marked critical are refused.
        self._registry = jws.JWSRegistry(algorithms=rules.algorithms, strict_check_header=False)

    def recognises(self, credential: str) -> bool:
        return credential.count(".") == 2

    def verify(self, credential: str, now: float) -> Verified:
        if self._keys is None:
            raise Unauthenticated("tokens cannot be checked now")
        if len(credential) > _MAX_TOKEN_CHARS or not credential.isascii():
            raise Unauthenticated("the token is not one of the issuer's")
        rules = self._rules
        registry = jwt.JWTClaimsRegistry(
            now=int(now),
            leeway=rules.leeway_seconds,
            iss={"essential": True, "value": rules.issuer},
            aud={"essential": True, "value": rules.audience},
            exp={"essential": True},
        )
        try:
            token = jwt.decode(credential, self._keys, registry=self._registry)
            registry.validate(token.claims)
        except ExpiredTokenError:
            raise Unauthenticated("the token has expired") from None
        except (JoseError, ValueError, TypeError, RecursionError):
            # One answer for all: what exactly is wrong with a forged token is nobody's business.
            raise Unauthenticated("the token is not one of the issuer's, or not for this gateway") from None
        return Verified(identity_of(token.claims, rules), token.claims["exp"] + rules.leeway_seconds)

    def refresh(self) -> bool:
        keys = self._file.changed()
        if keys is None:
            return False
        self._keys = keys
        log.info("jwks_loaded", keys=len(keys.keys), issuer=self._rules.issuer)
        return True


def read_jwks(path: Path) -> KeySet:
    """The public keys of the file. Blocks for one read. Raises :class:`InvalidJwks`, for private and shared keys too."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        keys = document["keys"]
        private = any(_PRIVATE & key.keys() for key in keys)
    except OSError as error:
        raise InvalidJwks(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidJwks(f'{path} is not of the form {{"keys": [...]}}') from None
    if private:
        raise InvalidJwks(f"{path} holds a private or shared key: only public ones belong there")
    try:
        return KeySet.import_key_set({"keys": [key for key in keys if key.get("use", "sig") == "sig"]})
    except (JoseError, ValueError, TypeError, KeyError):
        raise InvalidJwks(f"{path} holds no key that can be used") from None


def identity_of(claims: Mapping[str, Any], rules: TokenRules) -> Identity:
    """Who a verified token is. Raises :class:`Unauthenticated` when it does not say so."""
    tenant = claims.get(rules.tenant_claim)
    if not isinstance(tenant, str) or not tenant or id_problem(tenant):
        raise Unauthenticated(f"the token names no tenant (claim {rules.tenant_claim!r})")
    scopes = frozenset(Scope(word) for word in _words(claims.get(rules.scopes_claim)) if word in set(Scope))
    subject = claims.get("sub")
    name = subject if isinstance(subject, str) and subject and not id_problem(subject) else "?"
    return Identity(tenant, _projects(claims, rules), scopes, f"oidc:{name}")


def _projects(claims: Mapping[str, Any], rules: TokenRules) -> frozenset[str] | None:
    if not rules.projects_claim:
        return None
    named = claims.get(rules.projects_claim)
    if named == ALL_PROJECTS:
        return None
    if not isinstance(named, list) or not all(isinstance(project, str) for project in named):
        raise Unauthenticated(f'the token names no projects (claim {rules.projects_claim!r}: a list, or "*" for all)')
    return frozenset(named)


def _words(value: object) -> list[str]:
    """The words of a claim: a text with spaces, or a list."""
    if isinstance(value, str):
        return value.split()
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
