"""Certificates that are read again when their files change: of a server for both kinds of door, and of a client.

A connection has the certificates of the time when it began. Files that cannot be used change nothing: what was read last stays
in force, and it is logged. They are looked at with a new connection, at most every second; certificate and key are replaced one
after the other, so for a moment they may not fit, which is one of the things that change nothing.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import grpc

from runtime.files import ReloadedFiles
from runtime.logs import get_logger
from runtime.settings.base import InvalidSettings
from runtime.settings.tls import ListeningSettings

T = TypeVar("T")

_LOOK_SECONDS = 1.0

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files; `ca` is whose certificates the other side must have (None: a client's usual ones, a server's clients need none)."""

    cert: Path | None = None
    key: Path | None = None
    ca: Path | None = None

    def present(self) -> list[Path]:
        return [path for path in (self.cert, self.key, self.ca) if path is not None]


class UnusableCertificate(Exception):
    """The files do not make a certificate with its key; the message names them and holds nothing of them."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """One reading of the files."""

    cert: bytes | None
    key: bytes | None
    ca: bytes | None
    #: Of a server, ready for asyncio.
    context: ssl.SSLContext


class _Reloaded(Generic[T]):
    """What `load` makes of the files as they are; of files that cannot be used, what it made of them before."""

    def __init__(self, files: TlsFiles, load: Callable[[TlsFiles], T], monotonic: Callable[[], float]) -> None:
        """Blocks for a read. Raises :class:`UnusableCertificate`."""
        self._paths = files.present()
        self._files = ReloadedFiles(self._paths, lambda: load(files), (UnusableCertificate,), _refused)
        self._monotonic = monotonic
        self._looked_at = monotonic()
        self.value = self._files.read()

    def look(self) -> bool:
        """Whether :attr:`value` is new. Blocks for a look at the files, at most every second, or their read."""
        now = self._monotonic()
        if now - self._looked_at < _LOOK_SECONDS:
            return False
        self._looked_at = now
        loaded = self._files.changed()
        if loaded is None:
            return False
        self.value = loaded
        log.info("certificate_loaded", files=[str(path) for path in self._paths])
        return True


def _refused(problem: str, is_new: bool) -> None:
    if is_new:
        log.error("certificate_unusable", problem=problem, remedy="the one read before stays in force")


class ServerCertificates:
    """A server's certificate, key and client CA. Safe to use from any thread."""

    def __init__(self, files: TlsFiles, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Blocks for a read. Raises :class:`UnusableCertificate`."""
        self._mutual = files.ca is not None
        self._lock = threading.Lock()
        self._files = _Reloaded(files, _load, monotonic)

    @classmethod
    def of(cls, settings: ListeningSettings) -> ServerCertificates | None:
        """Those of the settings; None without TLS. Blocks for a read. Raises InvalidSettings when they cannot be used."""
        if settings.tls_cert_file is None:
            return None
        try:
            return cls(TlsFiles(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file))
        except UnusableCertificate as error:
            raise InvalidSettings(str(error)) from None

    def current(self) -> Loaded:
        """What is in force now. Blocks for a look at the files, or their read."""
        with self._lock:
            self._files.look()
            return self._files.value

    def ssl_context(self) -> ssl.SSLContext:
        """For asyncio and uvloop: each connection gets what is in force when it begins."""
        context = _Current(ssl.PROTOCOL_TLS_SERVER)
        context.certificates = self
        return context

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For a gRPC server: the same."""
        given = self.current()

        def fetch() -> Any:
            nonlocal given
            loaded = self.current()
            if loaded is given:
                return None
            given = loaded
            return _configuration(loaded)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(given), fetch, require_client_authentication=self._mutual
        )


class _Current(ssl.SSLContext):
    """Wraps each connection by the context that is in force: the CAs of one that was made can be added to, not replaced."""

    certificates: ServerCertificates

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        return self.certificates.current().context.wrap_bio(*args, **kwargs)


class ClientCertificates:
    """What a gRPC client trusts, and shows if it has something to show."""

    def __init__(self, files: TlsFiles, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Blocks for a read. Raises :class:`UnusableCertificate`."""
        self._files = _Reloaded(files, _client_credentials, monotonic)

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        return self._files.value

    def changed(self) -> bool:
        """Whether :attr:`credentials` are new since the last call. Blocks for a look at the files, at most every second."""
        return self._files.look()


def _load(files: TlsFiles) -> Loaded:
    cert, key, ca = (_read(path) for path in (files.cert, files.key, files.ca))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _use(context, files)
    return Loaded(cert, key, ca, context)


def _client_credentials(files: TlsFiles) -> grpc.ChannelCredentials:
    cert, key, ca = (_read(path) for path in (files.cert, files.key, files.ca))
    _use(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)  # grpc says nothing about what it cannot use
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnusableCertificate(f"{path} cannot be read: {error.strerror}") from None


def _use(context: ssl.SSLContext, files: TlsFiles) -> None:
    if files.cert is not None:
        try:
            # A password function: else OpenSSL would ask for one on the terminal.
            context.load_cert_chain(files.cert, files.key, password=lambda: "")
        except (OSError, ValueError):
            raise UnusableCertificate(f"{files.cert} and {files.key} are no certificate (PEM) with its key") from None
    if files.ca is not None:
        try:
            context.load_verify_locations(files.ca)
        except (OSError, ValueError):
            raise UnusableCertificate(f"{files.ca} holds no certificate (PEM) of a CA") from None
        context.verify_mode = ssl.CERT_REQUIRED


def _configuration(loaded: Loaded) -> Any:
    assert loaded.key is not None and loaded.cert is not None
    return grpc.ssl_server_certificate_configuration([(loaded.key, loaded.cert)], root_certificates=loaded.ca)
