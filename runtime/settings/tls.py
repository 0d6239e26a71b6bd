"""What a process that listens for others needs to say about TLS."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from runtime.settings.base import InvalidSettings, ProcessSettings


class ListeningSettings(ProcessSettings):
    """Base of the settings of processes with a door: its certificate, and leave to go without."""

    tls_cert_file: Path | None = Field(
        None,
        description="Certificate (PEM, with the chain behind it) of the process's doors; with it they speak TLS only. Read again within a second of a change, for new connections.",
    )
    tls_key_file: Path | None = Field(None, description="Its private key (PEM, without a passphrase).")
    tls_client_ca_file: Path | None = Field(
        None,
        description="With it a client must show a certificate of this CA (mTLS), beside its key or token. Read again as the certificate is.",
    )
    allow_plaintext: bool = Field(
        False,
        description="Without TLS the process listens on loopback addresses only, unless this is true: then something else must encrypt (a proxy, a mesh, a private network), or keys and events can be read on the way.",
    )

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        prefix = self.model_config.get("env_prefix", "")
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError(f"{prefix}TLS_CERT_FILE and {prefix}TLS_KEY_FILE go together")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError(f"{prefix}TLS_CLIENT_CA_FILE needs {prefix}TLS_CERT_FILE")
        return self

    def open_to_others(self, **hosts: str) -> list[str]:
        """The settings, of these, by which the process can be reached in plaintext from elsewhere.

        Raises InvalidSettings when that is so and was not asked for.
        """
        if self.tls_cert_file is not None:
            return []
        prefix = self.model_config.get("env_prefix", "")
        found = [f"{prefix}{name.upper()}={host!r}" for name, host in hosts.items() if not is_loopback(host)]
        if found and not self.allow_plaintext:
            raise InvalidSettings(
                f"{', '.join(found)}: not a loopback address, and without TLS whoever is on the way reads keys and events. "
                f"Set {prefix}TLS_CERT_FILE and {prefix}TLS_KEY_FILE, or {prefix}ALLOW_PLAINTEXT=true when something else "
                "encrypts (docs/security.md)"
            )
        return found


def is_loopback(host: str) -> bool:
    """Whether nobody on another machine reaches what listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
