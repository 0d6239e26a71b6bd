"""API keys from the key file, kept current.

A file that cannot be read changes nothing (the keys read last stay in force), is logged, and shows in the readiness and a metric.
"""

from __future__ import annotations

from pathlib import Path

from contracts import api_keys
from contracts.api_keys import StoredKey
from gateway.auth import Verified
from gateway.metrics import GatewayMetrics
from runtime.files import version
from runtime.health import Readiness
from runtime.keyfile import InvalidKeyFile, read_keys
from runtime.logs import get_logger
from runtime.pepper import find_pepper, pepper_file

_CONDITION = "keys"

log = get_logger(__name__)


class KeyStore:
    """The keys of one file; `pepper` is the configured one, empty: that of the file beside it."""

    def __init__(self, path: Path, readiness: Readiness, metrics: GatewayMetrics, pepper: str = "") -> None:
        self._path = path
        self._readiness = readiness
        self._metrics = metrics
        self._configured = pepper
        self._pepper = b""
        self._keys: dict[str, StoredKey] = {}
        self._version: object = None
        self._problem = ""

    def recognises(self, credential: str) -> bool:
        return credential.startswith(api_keys.PREFIX)

    def verify(self, credential: str, now: float) -> Verified:
        identity = api_keys.check(credential, self._keys, now, self._pepper)
        expires_at = self._keys[identity.key_id].expires_at
        return Verified(identity) if expires_at is None else Verified(identity, expires_at)

    def refresh(self) -> bool:
        found = version(self._path, pepper_file(self._path))
        if found == self._version and found[0] is not None:
            return False
        try:
            pepper = self._find_pepper()
            keys = read_keys(self._path, pepper)
        except InvalidKeyFile as error:
            self._metrics.key_reload_failures.inc()
            if str(error) != self._problem:
                self._problem = str(error)
                log.error("key_file_unreadable", problem=self._problem, keys_in_force=len(self._keys))
                self._readiness.set(_CONDITION, self._problem)
            return False
        self._keys, self._pepper, self._version = keys, pepper, found
        self._problem = ""
        self._readiness.set(_CONDITION)
        self._metrics.keys.set(len(keys))
        log.info("keys_loaded", keys=len(keys))
        if bare := sum(not key.is_sealed for key in keys.values()):
            log.warning(
                "keys_without_pepper", keys=bare, remedy="any `chaukas-gateway keys` command that writes seals them"
            )
        return True

    def _find_pepper(self) -> bytes:
        try:
            return find_pepper(self._path, self._configured)
        except OSError as error:
            raise InvalidKeyFile(f"{pepper_file(self._path)} cannot be read: {error.strerror}") from None
