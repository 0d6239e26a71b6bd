"""Page sizes and page tokens. Pure.

A token holds the position of the last row that was sent (the values of the order's columns) and a keyed hash over that
position and over what was asked: method, tenant, projects, filter and order. So a token continues only the query it came
from, and one that nobody here made is refused. It is no credential: the caller's identity is checked on every call.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets

from chaukas.spec.common.v1 import query_pb2

from contracts.errors import InvalidInput
from sink.query.identity import Scope

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

#: The values of the order's columns in one row, in that order.
Position = tuple[int | str, ...]

_VERSION = b"\x01"
_MAC_BYTES = 16
_KEY_CONTEXT = b"chaukas page tokens"


def page_size(asked: int, field: str) -> int:
    """0 is the default, too much is the maximum. Raises InvalidInput for a negative number."""
    if asked < 0:
        raise InvalidInput.of(field, "must not be negative")
    return min(asked, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE


def signing_key(page_token_key: str, sink_token: str) -> bytes:
    """The key of all query servers that share these settings; with neither set, of this process only."""
    secret = page_token_key or sink_token
    material = secret.encode() if secret else secrets.token_bytes(32)
    return hmac.digest(material, _KEY_CONTEXT, "sha256")


def binding(method: str, scope: Scope, filters: query_pb2.QueryFilter, ascending: bool) -> bytes:
    """What a token of this query is bound to. Filters that mean the same (lists in another order) bind the same."""
    canonical = query_pb2.QueryFilter()
    canonical.CopyFrom(filters)
    for field in ("tenant_id", "project_id"):  # the scope says what they came to
        canonical.ClearField(field)
    for field in ("types", "statuses", "severities", "tags"):
        values = sorted(set(getattr(filters, field)))
        canonical.ClearField(field)
        getattr(canonical, field).extend(values)
    projects = None if scope.projects is None else list(scope.projects)
    described = json.dumps([method, scope.tenant_id, projects, ascending]).encode()
    return hashlib.sha256(described + b"\0" + canonical.SerializeToString(deterministic=True)).digest()


class TokenCodec:
    """Makes and checks page tokens with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encode(self, bound_to: bytes, position: Position) -> str:
        body = json.dumps(position, separators=(",", ":"), ensure_ascii=False).encode()
        return base64.urlsafe_b64encode(_VERSION + self._mac(bound_to, body) + body).rstrip(b"=").decode()

    def decode(self, bound_to: bytes, token: str, field: str) -> Position:
        """The position in `token`, the value at path `field`. Raises InvalidInput unless this query made it."""
        try:
            data = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise _refused(field) from None
        start = len(_VERSION) + _MAC_BYTES
        mac, body = data[len(_VERSION) : start], data[start:]
        # Comparing with the token we would have made ourselves also refuses other spellings of the same bytes.
        genuine = data[: len(_VERSION)] == _VERSION and hmac.compare_digest(mac, self._mac(bound_to, body))
        if not genuine or base64.urlsafe_b64encode(data).rstrip(b"=").decode() != token:
            raise _refused(field)
        return tuple(json.loads(body))

    def _mac(self, bound_to: bytes, body: bytes) -> bytes:
        return hmac.digest(self._key, _VERSION + bound_to + body, "sha256")[:_MAC_BYTES]


def _refused(field: str) -> InvalidInput:
    return InvalidInput.of(field, "is not a token of this query: filter, order or caller changed, or it was damaged")
