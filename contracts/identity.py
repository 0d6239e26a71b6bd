"""Who a caller is: one tenant, optionally some of its projects, and what it may do."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from contracts.v1 import identity_pb2

#: gRPC metadata by which the gateway tells the sink about the caller: a serialized ``CallerIdentity``.
IDENTITY_METADATA = "chaukas-identity-bin"
#: gRPC metadata by which the gateway proves to the sink that it is the gateway.
INTERNAL_TOKEN_METADATA = "chaukas-internal-token"  # noqa: S105 - a name, not a secret
#: gRPC metadata by which an operator proves to the sink that retention and legal holds are theirs to change.
ADMIN_TOKEN_METADATA = "chaukas-admin-token"  # noqa: S105 - a name, not a secret


class Scope(enum.StrEnum):
    INGEST = "ingest"
    QUERY = "query"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How much may be sent, a second, over all gateways; None: nothing is said about it."""

    events_per_second: float | None = None
    bytes_per_second: float | None = None

    def rate(self, kind: str) -> float | None:
        """Of ``events`` or ``bytes``."""
        return self.events_per_second if kind == "events" else self.bytes_per_second


NO_LIMITS = RateLimits()


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated caller. `projects` is None for "all projects of the tenant"."""

    tenant_id: str
    projects: frozenset[str] | None
    scopes: frozenset[Scope]
    #: Names the key in logs and metrics; never the secret.
    key_id: str = ""
    #: What this key was given; the gateway's settings say the rest.
    limits: RateLimits = NO_LIMITS

    def allows_project(self, project_id: str) -> bool:
        return self.projects is None or project_id in self.projects

    def to_metadata(self) -> bytes:
        """Value of :data:`IDENTITY_METADATA`."""
        message = identity_pb2.CallerIdentity(
            tenant_id=self.tenant_id, all_projects=self.projects is None, project_ids=sorted(self.projects or ())
        )
        return message.SerializeToString()


def identity_from_metadata(value: bytes) -> Identity:
    """The sink's side of :meth:`Identity.to_metadata`. Raises ``google.protobuf.message.DecodeError``."""
    message = identity_pb2.CallerIdentity.FromString(value)
    projects = None if message.all_projects else frozenset(message.project_ids)
    return Identity(message.tenant_id, projects, frozenset({Scope.QUERY}))
