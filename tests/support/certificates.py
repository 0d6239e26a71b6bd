"""Certificates made in a test: a CA, and files of a server's or a client's certificate by it."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography import x509


@dataclass(frozen=True)
class Files:
    """PEM files of one certificate."""

    cert: Path
    key: Path

    @property
    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.cert.read_bytes()).serial_number


class Ca:
    """One CA; `path` is its certificate."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._directory = directory
        self._ca = trustme.CA()
        self.path = directory / f"{name}.pem"
        self._ca.cert_pem.write_to_path(str(self.path))

    def issue(self, name: str, *identities: str, common_name: str | None = None) -> Files:
        """A certificate for `identities` (default: this machine), in files named after `name`; made again, it replaces them."""
        made = self._ca.issue_cert(*(identities or ("127.0.0.1", "localhost")), common_name=common_name)
        files = Files(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        made.private_key_pem.write_to_path(str(files.key))
        files.cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        return files

    def client_context(self, files: Files | None = None) -> ssl.SSLContext:
        """For a client that trusts this CA alone, and shows `files`."""
        context = ssl.create_default_context(cafile=str(self.path))
        if files is not None:
            context.load_cert_chain(files.cert, files.key)
        return context

    def shown_at(self, port: int, files: Files | None = None, alpn: str = "") -> int:
        """Serial number of the certificate that a new connection to `port` is shown. Raises ssl.SSLError or OSError."""
        context = self.client_context(files)
        if alpn:
            context.set_alpn_protocols([alpn])
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
        ):
            shown = wrapped.getpeercert(binary_form=True)
            # With TLS 1.3 a client hears only now that its certificate was refused.
            wrapped.settimeout(0.2)
            try:
                wrapped.recv(1)
            except TimeoutError:
                pass
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number
