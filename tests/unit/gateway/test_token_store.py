"""Tokens of an OIDC issuer: only what its keys signed, for us, now; and what it says is who the caller is."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import ECKey, Key, OctKey, RSAKey

from contracts.errors import PermissionDenied, Unauthenticated
from contracts.identity import Scope
from gateway.auth import RELOAD_SECONDS, Authenticator
from gateway.callers import authenticator
from gateway.metrics import GatewayMetrics
from gateway.token_store import TokenRules, TokenStore
from runtime.health import Readiness
from runtime.settings import GatewaySettings, InvalidSettings, load

NOW = 1_800_000_000
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
STRANGER = RSAKey.generate_key(2048, {"kid": "rsa"})
RULES = TokenRules("https://issuer", "chaukas", ("RS256", "ES256"), 30, "tenant_id", "projects", "scope")
CLAIMS: dict[str, Any] = {
    "iss": "https://issuer",
    "aud": ["other", "chaukas"],
    "exp": NOW + 600,
    "sub": "agent-7",
    "tenant_id": "acme",
    "projects": ["shop"],
    "scope": "openid ingest query",
}


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


class Issuer:
    """A JWKS file and the gateway's side of it."""

    def __init__(self, directory: Path, rules: TokenRules = RULES) -> None:
        self.path = directory / "jwks.json"
        self.clock = Clock()
        self.readiness = Readiness()
        self.publish(RSA, EC)
        self.store = TokenStore(self.path, rules, self.readiness, GatewayMetrics())
        self.callers = Authenticator([self.store], clock=self.clock, monotonic=self.clock)

    def publish(self, *keys: Key) -> None:
        self.path.write_text(json.dumps({"keys": [key.as_dict(private=False) for key in keys]}))


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path)


def token(key: Key = RSA, alg: str = "RS256", header: dict[str, Any] | None = None, **claims: Any) -> str:
    named = {"alg": alg, "kid": key.kid, **(header or {})}
    said = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
    return jwt.encode(named, said, key, registry=registry)


def test_a_good_token_is_whom_it_names(issuer: Issuer) -> None:
    for good in (token(), token(EC, "ES256")):
        identity = issuer.callers.identify(f"Bearer {good}", Scope.INGEST)
        assert (identity.tenant_id, identity.projects) == ("acme", frozenset({"shop"}))
        assert identity.scopes == {Scope.INGEST, Scope.QUERY}
        assert identity.key_id == "oidc:agent-7"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other"},
        {"iss": None},
        {"aud": "other"},
        {"aud": []},
        {"aud": None},
        {"exp": None},
        {"exp": NOW - 31},
        {"exp": "soon"},
        {"exp": True},
        {"nbf": NOW + 31},
        {"iat": NOW + 31},
        {"tenant_id": None},
        {"tenant_id": ""},
        {"tenant_id": ["acme"]},
        {"tenant_id": "a\nb"},
        {"projects": None},
        {"projects": "shop"},
        {"projects": [1]},
    ],
)
def test_claims_that_are_wrong_are_nobodys(issuer: Issuer, claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        issuer.callers.identify(f"Bearer {token(**claims)}")


def test_clocks_may_differ_a_little(issuer: Issuer) -> None:
    allowed: list[dict[str, Any]] = [{"exp": NOW - 29}, {"nbf": NOW + 29}, {"iat": NOW + 29}]
    for claims in allowed:
        issuer.callers.identify(f"Bearer {token(**claims)}")


def encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


def by_hand(header: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """What the library would not make."""
    signing = encoded(json.dumps(header).encode()) + b"." + encoded(json.dumps(CLAIMS).encode())
    return (signing + b"." + encoded(sign(signing))).decode()


def unsigned(alg: str) -> str:
    return by_hand({"alg": alg, "kid": "rsa"}, lambda signing: b"")


def signed_with_the_public_key() -> str:
    """HS256 with what everybody may read: a verifier that goes by the token's own algorithm takes it for RSA's."""
    pem = RSA.as_pem(private=False)
    return by_hand({"alg": "HS256", "kid": "rsa"}, lambda signing: hmac.digest(pem, signing, "sha256"))


def with_a_critical_header() -> str:
    sign = jws.JWSRegistry.algorithms["RS256"].sign
    return by_hand({"alg": "RS256", "kid": "rsa", "crit": ["x"], "x": 1}, lambda signing: sign(signing, RSA))


@pytest.mark.parametrize(
    "forged",
    [
        unsigned("none"),
        unsigned("RS256"),
        signed_with_the_public_key(),
        token(STRANGER),
        token(EC, "ES256", {"kid": "rsa"}),
        token(RSA, "RS512"),
        token(RSA, "PS256"),
        token(RSA, "RS256", {"kid": "unknown"}),
        token()[:-4] + "AAAA",
        ".".join([token().split(".")[0], unsigned("x").split(".")[1], token().split(".")[2]]),
        "a.b.c",
        "..",
        "é.b.c",
        f"{'x' * 20_000}.b.c",
    ],
)
def test_forgeries_are_nobodys_and_are_not_quoted(issuer: Issuer, forged: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        issuer.callers.identify(f"Bearer {forged}")
    assert len(forged) < 8 or forged not in str(caught.value)


@given(st.text(max_size=200))
def test_no_text_crashes_or_opens(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    issuer = Issuer(tmp_path_factory.mktemp("issuer"))
    with pytest.raises(Unauthenticated):
        issuer.callers.identify(f"Bearer {text}.{text}.{text}")


def test_a_key_with_headers_we_do_not_know_is_fine_unless_they_are_critical(issuer: Issuer) -> None:
    issuer.callers.identify(f"Bearer {token(header={'typ': 'at+jwt', 'x-custom': 1})}")
    with pytest.raises(Unauthenticated):
        issuer.callers.identify(f"Bearer {with_a_critical_header()}")


def test_a_known_token_ends_with_its_time(issuer: Issuer) -> None:
    authorization = f"Bearer {token()}"
    issuer.callers.identify(authorization)
    issuer.clock.now = NOW + 629.0
    issuer.callers.identify(authorization)
    issuer.clock.now = NOW + 630.0
    with pytest.raises(Unauthenticated, match="expired"):
        issuer.callers.identify(authorization)


def test_a_key_that_is_withdrawn_ends_its_tokens_and_a_new_one_is_found(issuer: Issuer) -> None:
    authorization = f"Bearer {token()}"
    issuer.callers.identify(authorization)
    issuer.publish(EC)
    issuer.clock.now += RELOAD_SECONDS
    with pytest.raises(Unauthenticated):
        issuer.callers.identify(authorization)
    issuer.publish(RSA, EC)
    issuer.clock.now += RELOAD_SECONDS
    issuer.callers.identify(authorization)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"keys": [1]}',
        '{"keys": []}',
        json.dumps({"keys": [RSA.as_dict(private=True)]}),
        json.dumps({"keys": [OctKey.generate_key(256).as_dict(private=True)]}),
    ],
)
def test_a_broken_file_keeps_the_keys_and_says_so(issuer: Issuer, content: str) -> None:
    authorization = f"Bearer {token()}"
    issuer.path.write_text(content)
    issuer.clock.now += RELOAD_SECONDS
    issuer.callers.identify(authorization)
    assert not issuer.readiness.ready
    assert str(issuer.path) in issuer.readiness.describe()["oidc"]


def test_a_star_is_all_projects_and_a_list_with_a_star_is_a_project_of_that_name(issuer: Issuer) -> None:
    assert issuer.callers.identify(f"Bearer {token(projects='*')}").projects is None
    assert issuer.callers.identify(f"Bearer {token(projects=['*'])}").projects == frozenset({"*"})
    assert issuer.callers.identify(f"Bearer {token(projects=[])}").projects == frozenset()


def test_scopes_that_are_not_named_are_not_given(issuer: Issuer) -> None:
    for scope in (None, "", "INGEST", "ingestion", 7, {"ingest": True}):
        with pytest.raises(PermissionDenied):
            issuer.callers.identify(f"Bearer {token(scope=scope)}", Scope.INGEST)
    assert issuer.callers.identify(f"Bearer {token(scope=['admin', 'x', 1])}").scopes == {Scope.ADMIN}


def test_settings_bring_tokens_beside_keys(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    chosen = {"oidc_jwks_file": issuer.path, "oidc_issuer": "https://issuer", "oidc_audience": "chaukas"}
    settings = load(GatewaySettings, keys_file=tmp_path / "keys.json", **chosen)
    callers = authenticator(settings, Readiness(), GatewayMetrics())
    fresh = token(exp=4_000_000_000)
    assert callers.identify(f"Bearer {fresh}").tenant_id == "acme"
    with pytest.raises(Unauthenticated, match="not a Chaukas API key"):
        callers.identify("Bearer nonsense")
    everywhere = load(GatewaySettings, keys_file=tmp_path / "keys.json", oidc_projects_claim="-", **chosen)
    callers = authenticator(everywhere, Readiness(), GatewayMetrics())
    assert callers.identify(f"Bearer {fresh}").projects is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"oidc_jwks_file": "x"}, "GATEWAY_OIDC_ISSUER"),
        ({"oidc_algorithms": "none"}, "GATEWAY_OIDC_ALGORITHMS"),
        ({"oidc_algorithms": "RS256,HS256"}, "GATEWAY_OIDC_ALGORITHMS"),
        ({"oidc_algorithms": ","}, "GATEWAY_OIDC_ALGORITHMS"),
    ],
)
def test_settings_that_would_let_anybody_in_are_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        load(GatewaySettings, **settings)
