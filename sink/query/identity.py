"""Who is asking, and which rows that is allowed to be about. Pure.

Only the gateway is a client. It proves itself with the shared token, a certificate or both, and names the caller it
authenticated; the request's own tenant and project can narrow what that caller sees, never widen it.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from contracts.errors import PermissionDenied, Unauthenticated
from contracts.identity import (
    ADMIN_TOKEN_METADATA,
    IDENTITY_METADATA,
    INTERNAL_TOKEN_METADATA,
    Identity,
    identity_from_metadata,
)

#: What gRPC calls the names of a certificate.
_NAMES = ("x509_common_name", "x509_subject_alternative_name")

Metadata = Iterable[tuple[str, str | bytes]]


@dataclass(frozen=True, slots=True)
class Scope:
    """The rows a query may see: one tenant, and some of its projects (sorted) or, None, all of them."""

    tenant_id: str
    projects: tuple[str, ...] | None

    @property
    def one_project(self) -> str | None:
        return self.projects[0] if self.projects is not None and len(self.projects) == 1 else None


def authenticate(metadata: Metadata, token: str) -> Identity:
    """The caller the gateway vouches for; an empty `token` trusts every client. Raises Unauthenticated."""
    found = _as_bytes(metadata)
    if token and not hmac.compare_digest(found.get(INTERNAL_TOKEN_METADATA, b""), token.encode()):
        raise Unauthenticated(f"metadata {INTERNAL_TOKEN_METADATA}: missing or wrong")
    try:
        identity = identity_from_metadata(found[IDENTITY_METADATA])
    except (KeyError, DecodeError):
        raise Unauthenticated(f"metadata {IDENTITY_METADATA}: missing or unreadable") from None
    if not identity.tenant_id:
        raise Unauthenticated(f"metadata {IDENTITY_METADATA}: names no tenant")
    return identity


def peer_names(setting: str) -> frozenset[bytes]:
    """``SINK_TLS_CLIENT_NAMES``, as gRPC tells names of certificates."""
    return frozenset(name.strip().encode() for name in setting.split(",") if name.strip())


def authenticate_peer(auth_context: Mapping[str, Iterable[bytes]], names: frozenset[bytes]) -> None:
    """The certificate of the connection's client must have one of `names`. Raises Unauthenticated."""
    shown = {name for key in _NAMES for name in auth_context.get(key, ())}
    if not shown & names:
        raise Unauthenticated("the client's certificate has none of the names that may ask here")


def authenticate_operator(metadata: Metadata, token: str) -> None:
    """Whoever shows `token` may change retention and holds of every tenant; an empty one is nobody's.

    Raises PermissionDenied or Unauthenticated.
    """
    if not token:
        raise PermissionDenied("administration is off: SINK_ADMIN_TOKEN is not set for the sink")
    if not hmac.compare_digest(_as_bytes(metadata).get(ADMIN_TOKEN_METADATA, b""), token.encode()):
        raise Unauthenticated(f"metadata {ADMIN_TOKEN_METADATA}: missing or wrong")


def _as_bytes(metadata: Metadata) -> dict[str, bytes]:
    return {name: value if isinstance(value, bytes) else value.encode() for name, value in metadata}


def scope_of(identity: Identity, tenant_id: str, project_id: str) -> Scope:
    """What a request for `tenant_id` and `project_id` (empty: whatever the caller may see) covers. Raises PermissionDenied."""
    if tenant_id and tenant_id != identity.tenant_id:
        raise PermissionDenied("the key does not belong to this tenant")
    if not project_id:
        return Scope(identity.tenant_id, None if identity.projects is None else tuple(sorted(identity.projects)))
    if not identity.allows_project(project_id):
        raise PermissionDenied("the key does not cover this project")
    return Scope(identity.tenant_id, (project_id,))
