"""What a caller needs for an operation. Every operation of both doors says it; the doors enforce it in one place each."""

from __future__ import annotations

import enum

from contracts.identity import Scope


class Access(enum.Enum):
    """Needed to be let in; `tenant and projects` are looked at with the request itself."""

    #: No credential: what tells nothing about anybody's events.
    PUBLIC = "public"
    #: Any valid credential.
    ANY = "any"
    INGEST = "ingest"
    QUERY = "query"

    #: The scope a credential must have; None: none in particular.
    scope: Scope | None

    def __init__(self, value: str) -> None:
        self.scope = Scope(value) if value in ("ingest", "query") else None
