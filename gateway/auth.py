"""Who calls: the key file, kept current, and the check of a Bearer key.

The file is looked at again at most every second, so a new key works and a revoked one stops within that time. A file that
cannot be read changes nothing (the keys read last stay in force), is logged, and shows in the readiness and a metric. Verified
keys are remembered until the file changes: a known caller costs one dictionary lookup.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from contracts import api_keys
from contracts.api_keys import StoredKey
from contracts.errors import PermissionDenied, Unauthenticated
from contracts.identity import Identity, Scope
from gateway.metrics import GatewayMetrics
from runtime.health import Readiness
from runtime.keyfile import InvalidKeyFile, read_keys
from runtime.logs import get_logger

RELOAD_SECONDS = 1.0
_CONDITION = "keys"

log = get_logger(__name__)


class Keys:
    """The API keys of this process. Used from the event loop's thread only."""

    def __init__(
        self,
        path: Path,
        readiness: Readiness,
        metrics: GatewayMetrics,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._readiness = readiness
        self._metrics = metrics
        self._clock = clock
        self._monotonic = monotonic
        self._keys: dict[str, StoredKey] = {}
        self._verified: dict[str, tuple[Identity, float]] = {}
        self._version: tuple[int, int, int] | None = None
        self._looked_at = monotonic()
        self._problem = ""
        self._reload()

    def identify(self, authorization: str | None, scope: Scope | None = None) -> Identity:
        """The caller behind an ``Authorization`` header, which must have `scope`.

        Raises :class:`Unauthenticated` or :class:`PermissionDenied`. Reads the key file (a few KiB) when it changed.
        """
        now = self._monotonic()
        if now - self._looked_at >= RELOAD_SECONDS:
            self._looked_at = now
            self._reload()
        identity = self._identity(_bearer(authorization))
        if scope is not None and scope not in identity.scopes:
            raise PermissionDenied(f"the API key has no scope {scope.value!r}")
        return identity

    def _identity(self, key: str) -> Identity:
        seconds = self._clock()
        known = self._verified.get(key)
        if known is not None and seconds < known[1]:
            return known[0]
        identity = api_keys.check(key, self._keys, seconds)
        expires_at = self._keys[identity.key_id].expires_at
        self._verified[key] = (identity, float("inf") if expires_at is None else expires_at)
        return identity

    def _reload(self) -> None:
        try:
            stat = self._path.stat()
            version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if version == self._version:
                return
        except OSError:
            version = None  # read_keys says it better
        try:
            self._keys = read_keys(self._path)
        except InvalidKeyFile as error:
            self._metrics.key_reload_failures.inc()
            if str(error) != self._problem:
                self._problem = str(error)
                log.error("key_file_unreadable", problem=self._problem, keys_in_force=len(self._keys))
                self._readiness.set(_CONDITION, self._problem)
            return
        self._version = version
        self._verified.clear()
        self._problem = ""
        self._readiness.set(_CONDITION)
        self._metrics.keys.set(len(self._keys))
        log.info("keys_loaded", keys=len(self._keys))


def _bearer(authorization: str | None) -> str:
    if not authorization:
        raise Unauthenticated("no API key; send the header Authorization: Bearer <key>")
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthenticated("the Authorization header must be: Bearer <key>")
    return key.strip()
