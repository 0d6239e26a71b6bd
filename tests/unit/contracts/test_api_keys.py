"""API keys: only the right text of a known, unexpired key is somebody."""

import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import api_keys
from contracts.errors import Unauthenticated
from contracts.identity import Identity, Scope, identity_from_metadata

TEXT, STORED = api_keys.generate("tenant", ["p1"], [Scope.INGEST], label="test", expires_at=1000.0)
STORE = {STORED.key_id: STORED}


def test_the_right_key_is_its_identity() -> None:
    identity = api_keys.check(TEXT, STORE, now=999.0)
    assert (identity.tenant_id, identity.projects, identity.scopes) == (
        "tenant",
        frozenset({"p1"}),
        frozenset({Scope.INGEST}),
    )


def test_a_typing_error_is_told_apart_from_a_stranger() -> None:
    mistyped = TEXT[:-9] + ("a" if TEXT[-9] != "a" else "b") + TEXT[-8:]
    with pytest.raises(Unauthenticated, match="checksum"):
        api_keys.check(mistyped, STORE, now=0.0)
    stranger, _ = api_keys.generate("tenant", None, [Scope.ADMIN])
    with pytest.raises(Unauthenticated, match="unknown"):
        api_keys.check(stranger, STORE, now=0.0)


def test_an_expired_key_is_nobody() -> None:
    with pytest.raises(Unauthenticated, match="expired"):
        api_keys.check(TEXT, STORE, now=1000.0)


def test_another_keys_secret_does_not_open_this_key() -> None:
    other_text, other = api_keys.generate("other", None, [Scope.ADMIN])
    swapped = {other.key_id: api_keys.StoredKey(other.key_id, STORED.secret_hash, other.identity)}
    with pytest.raises(Unauthenticated):
        api_keys.check(other_text, swapped, now=0.0)


def test_an_unknown_id_and_a_wrong_secret_are_the_same_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same words after the same work: nobody learns which ids exist."""
    stranger, _ = api_keys.generate("tenant", None, [Scope.ADMIN])
    body = f"ck_{STORED.key_id}_{stranger.split('_')[2][:-7]}"
    wrong = body + api_keys._checksum(body)
    store = {STORED.key_id: STORED.sealed(b"p")}
    work: list[str] = []

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            work.append(name)
            return function(*arguments)

        return call

    monkeypatch.setattr(api_keys, "_seal", noted("seal", api_keys._seal))
    monkeypatch.setattr(hmac, "compare_digest", noted("compare", hmac.compare_digest))
    told = []
    for text in (stranger, wrong):
        with pytest.raises(Unauthenticated) as caught:
            api_keys.check(text, store, 0.0, b"p")
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert work == ["compare", "seal", "compare"] * 2


def test_the_secret_is_not_stored() -> None:
    secret = TEXT.split("_")[2]
    assert secret[:20] not in json.dumps(STORED.to_json())


@given(st.text(max_size=80))
def test_no_text_crashes_or_opens(text: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        api_keys.check(text, STORE, now=0.0)
    assert len(text) < 12 or text not in str(caught.value)


@given(
    tenant=st.text(min_size=1),
    projects=st.none() | st.frozensets(st.text(), max_size=4),
    scopes=st.frozensets(st.sampled_from(Scope)),
)
def test_storage_round_trip(tenant: str, projects: frozenset[str] | None, scopes: frozenset[Scope]) -> None:
    _, stored = api_keys.generate(tenant, projects, scopes)
    assert api_keys.StoredKey.from_json(json.loads(json.dumps(stored.to_json()))) == stored


@given(tenant=st.text(), projects=st.none() | st.frozensets(st.text(), max_size=4))
def test_identity_reaches_the_sink_unchanged(tenant: str, projects: frozenset[str] | None) -> None:
    sent = Identity(tenant, projects, frozenset({Scope.QUERY}))
    assert identity_from_metadata(sent.to_metadata()) == sent
