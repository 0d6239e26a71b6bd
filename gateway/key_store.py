"""API keys from the key file, kept current."""

from __future__ import annotations

from pathlib import Path

from contracts import api_keys
from contracts.api_keys import StoredKey
from gateway.auth import Verified
from gateway.credential_file import CredentialFile
from gateway.metrics import GatewayMetrics
from runtime.health import Readiness
from runtime.keyfile import InvalidKeyFile, read_keys
from runtime.logs import get_logger
from runtime.pepper import find_pepper, pepper_file

log = get_logger(__name__)


class KeyStore:
    """The keys of one file; `pepper` is the configured one, empty: that of the file beside it."""

    def __init__(self, path: Path, readiness: Readiness, metrics: GatewayMetrics, pepper: str = "") -> None:
        self._path = path
        self._metrics = metrics
        self._configured = pepper
        self._pepper = b""
        self._keys: dict[str, StoredKey] = {}
        self._file = CredentialFile(
            (path, pepper_file(path)), self._read, (InvalidKeyFile,), "keys", readiness, metrics
        )

    def recognises(self, credential: str) -> bool:
        return credential.startswith(api_keys.PREFIX)

    def verify(self, credential: str, now: float) -> Verified:
        identity = api_keys.check(credential, self._keys, now, self._pepper)
        expires_at = self._keys[identity.key_id].expires_at
        return Verified(identity) if expires_at is None else Verified(identity, expires_at)

    def refresh(self) -> bool:
        loaded = self._file.changed()
        if loaded is None:
            return False
        self._keys, self._pepper = loaded
        self._metrics.keys.set(len(self._keys))
        log.info("keys_loaded", keys=len(self._keys))
        if bare := sum(not key.is_sealed for key in self._keys.values()):
            log.warning(
                "keys_without_pepper", keys=bare, remedy="any `chaukas-gateway keys` command that writes seals them"
            )
        return True

    def _read(self) -> tuple[dict[str, StoredKey], bytes]:
        try:
            pepper = find_pepper(self._path, self._configured)
        except OSError as error:
            raise InvalidKeyFile(f"{pepper_file(self._path)} cannot be read: {error.strerror}") from None
        return read_keys(self._path, pepper), pepper
