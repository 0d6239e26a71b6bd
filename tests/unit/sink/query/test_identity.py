from __future__ import annotations

import pytest

from contracts.errors import PermissionDenied, Unauthenticated
from contracts.identity import IDENTITY_METADATA, INTERNAL_TOKEN_METADATA, Identity, Scope
from sink.query import identity as sut

EVERYTHING = Identity("t", None, frozenset({Scope.QUERY}))
TWO = Identity("t", frozenset({"q", "p"}), frozenset({Scope.QUERY}))
NONE = Identity("t", frozenset(), frozenset({Scope.QUERY}))


def metadata(caller: Identity, token: str | None = "secret") -> list[tuple[str, str | bytes]]:
    found: list[tuple[str, str | bytes]] = [(IDENTITY_METADATA, caller.to_metadata())]
    return found if token is None else [(INTERNAL_TOKEN_METADATA, token), *found]


@pytest.mark.parametrize("caller", [EVERYTHING, TWO, NONE])
def test_the_gateways_word_is_taken(caller: Identity) -> None:
    assert sut.authenticate(metadata(caller), "secret") == caller


@pytest.mark.parametrize("token", [None, "", "other", "secret ", "Secret", "sécret"])
def test_a_wrong_token_is_refused(token: str | None) -> None:
    with pytest.raises(Unauthenticated):
        sut.authenticate(metadata(EVERYTHING, token), "secret")


def test_without_a_token_every_client_is_the_gateway() -> None:
    assert sut.authenticate(metadata(TWO, None), "") == TWO


@pytest.mark.parametrize("value", [None, b"\xff\xff", b"", Identity("", None, frozenset()).to_metadata()])
def test_a_call_without_a_caller_is_refused(value: bytes | None) -> None:
    found: list[tuple[str, str | bytes]] = [(INTERNAL_TOKEN_METADATA, "secret")]
    if value is not None:
        found.append((IDENTITY_METADATA, value))
    with pytest.raises(Unauthenticated):
        sut.authenticate(found, "secret")


@pytest.mark.parametrize(
    ("caller", "tenant", "project", "scope"),
    [
        (EVERYTHING, "", "", sut.Scope("t", None)),
        (EVERYTHING, "t", "", sut.Scope("t", None)),
        (EVERYTHING, "t", "any", sut.Scope("t", ("any",))),
        (TWO, "", "", sut.Scope("t", ("p", "q"))),
        (TWO, "t", "q", sut.Scope("t", ("q",))),
        (NONE, "", "", sut.Scope("t", ())),
    ],
)
def test_scopes(caller: Identity, tenant: str, project: str, scope: sut.Scope) -> None:
    assert sut.scope_of(caller, tenant, project) == scope


@pytest.mark.parametrize(
    ("caller", "tenant", "project"),
    [(EVERYTHING, "u", ""), (EVERYTHING, "T", "p"), (TWO, "", "r"), (TWO, "t", "P"), (TWO, "u", "p"), (NONE, "t", "p")],
)
def test_no_request_widens_what_its_caller_sees(caller: Identity, tenant: str, project: str) -> None:
    with pytest.raises(PermissionDenied):
        sut.scope_of(caller, tenant, project)
