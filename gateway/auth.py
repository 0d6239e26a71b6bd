"""Who calls: the one place that turns a Bearer credential into an identity, for both doors.

Credentials are known to stores (:class:`CredentialStore`): the key file, and an OIDC issuer's keys when there is one. What was
verified is remembered until its store changes or the credential ends: a known caller costs one dictionary lookup. Stores are
looked at again at most every second, with the next call, so a new key works and a revoked one stops within that time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from contracts.errors import PermissionDenied, Unauthenticated
from contracts.identity import Identity, Scope

RELOAD_SECONDS = 1.0
#: Most callers that are remembered; the one remembered first goes first.
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Verified:
    """A credential that is good."""

    identity: Identity
    #: Unix seconds; infinity: as long as its store does not change.
    valid_until: float = float("inf")


class CredentialStore(Protocol):
    """Knows the credentials of one kind. Used from the event loop's thread only."""

    def recognises(self, credential: str) -> bool:
        """Whether it is of this kind, by its looks."""
        ...

    def verify(self, credential: str, now: float) -> Verified:
        """Who shows it at `now` (Unix seconds). Raises :class:`Unauthenticated`, in words that do not hold the credential."""
        ...

    def refresh(self) -> bool:
        """Look for changes; whether what was verified before may be good no more. Blocks for a look at a file, or its read."""
        ...


class Authenticator:
    """The callers of this process. Used from the event loop's thread only."""

    def __init__(
        self,
        stores: Sequence[CredentialStore],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stores = stores
        self._clock = clock
        self._monotonic = monotonic
        #: By whole ``Authorization`` header.
        self._verified: dict[str, Verified] = {}
        self._looked_at = monotonic()
        for store in stores:
            store.refresh()

    def identify(self, authorization: str | None, scope: Scope | None = None) -> Identity:
        """The caller behind an ``Authorization`` header, which must have `scope`.

        Raises :class:`Unauthenticated` or :class:`PermissionDenied`. Reads a store's file (a few KiB) when that changed.
        """
        now = self._monotonic()
        if now - self._looked_at >= RELOAD_SECONDS:
            self._looked_at = now
            for store in self._stores:
                if store.refresh():
                    self._verified.clear()
        seconds = self._clock()
        known = self._verified.get(authorization or "")
        if known is None or seconds >= known.valid_until:
            known = self._verify(authorization, seconds)
        identity = known.identity
        if scope is not None and scope not in identity.scopes:
            raise PermissionDenied(f"the API key has no scope {scope.value!r}")
        return identity

    def _verify(self, authorization: str | None, seconds: float) -> Verified:
        credential = _bearer(authorization)
        first = self._stores[0]  # says what is wrong with what nobody recognises
        store = next((store for store in self._stores if store.recognises(credential)), first)
        verified = store.verify(credential, seconds)
        if len(self._verified) >= _REMEMBERED:
            del self._verified[next(iter(self._verified))]
        self._verified[authorization or ""] = verified
        return verified


def _bearer(authorization: str | None) -> str:
    if not authorization:
        raise Unauthenticated("no API key; send the header Authorization: Bearer <key>")
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthenticated("the Authorization header must be: Bearer <key>")
    return key.strip()
