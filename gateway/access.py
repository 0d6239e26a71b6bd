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

    @property
    def scope(self) -> Scope | None:
        """The scope a credential must have; None: none in particular."""
        return Scope(self.value) if self in (Access.INGEST, Access.QUERY) else None
