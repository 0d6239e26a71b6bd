"""What this deployment can do: true only for what works."""

from __future__ import annotations

from chaukas.spec.common.v1.query_pb2 import Capabilities

CAPABILITIES = Capabilities(
    # A key's scopes (ingest, query, admin) are its role; tenant and projects bound what the role applies to. Enforced on
    # every call, at both doors and again in the sink.
    rbac=True,
    # Events of these types are accepted, stored and queryable like all others.
    policy_decisions=True,
    data_access_events=True,
    # No write-once storage, no signed roots, no query across deployments, no single sign-on.
    worm_retention=False,
    audit_proofs=False,
    distributed_query=False,
    sso=False,
)
