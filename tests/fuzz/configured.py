"""Hostile content of what an operator or an issuer hands us: an issuer's keys and tokens, certificates, redaction rules."""

from __future__ import annotations

import base64
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey
from structlog.testing import capture_logs

from contracts.errors import Unauthenticated
from contracts.redaction import parse_rules
from gateway.metrics import GatewayMetrics
from gateway.token_store import TokenRules, TokenStore
from runtime.health import Readiness
from runtime.tls import ClientCertificates, ServerCertificates, TlsFiles
from tests.fuzz.json_shapes import JsonShapes
from tests.fuzz.wire_shapes import WireShapes
from tests.support.certificates import Ca
from tests.support.hostile_texts import HOSTILE_TEXTS

NOW = 1_800_000_000
_CLAIMS: dict[str, Any] = {
    "iss": "https://issuer", "aud": "chaukas", "exp": NOW + 600, "sub": "agent", "tenant_id": "acme", "projects": ["shop"],
    "scope": "ingest query",
}  # fmt: skip
_TOKEN_RULES = TokenRules(
    "https://issuer", "chaukas", ("RS256", "ES256", "EdDSA"), 30, "tenant_id", "projects", "scope"
)
_ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 1e400, -1e400, math.nan, 10**400, "", "0", "never", [], [[]], ["x"], [1, "x"], {}, {"x": {}}, "*",
    ["*"], "AQAB", "AA", "====", "é", "A" * 5000,
)  # fmt: skip
_KEY_NAMES = (
    "kty", "n", "e", "crv", "x", "y", "d", "k", "kid", "use", "alg", "key_ops", "x5c", "x5t", "x5u", "oth", "ext", "p", "\n",
)  # fmt: skip
_KEY_WORDS = ("RSA", "EC", "OKP", "oct", "P-256", "P-521", "Ed25519", "sig", "enc", "ES256", "HS256")
_ALGORITHMS = ("none", "None", "HS256", "RS256", "ES256", "PS256", "EdDSA", "dir")
_HEADERS = ("crit", "b64", "zip", "jku", "x5u", "x5c", "jwk", "typ", "cty", "enc", "p2c", "epk")
_RULES = """version: 1
tenants:
  "*":
    rules:
      - {name: emails, patterns: ['[\\w.+-]+@[\\w-]+(\\.[\\w-]+)+'], action: hash}
  acme:
    uninspectable: keep
    rules:
      - name: prompts
        paths: ['$.message.text', '$.llm_invocation..content', "$.tool_call.arguments['x'].*"]
        action: mask
        mask: '[prompt]'
"""
_YAML = (
    "? [a]\n: b\n", "{[a]: b}", "!!int x", "!!float x", "!!bool x", "!!timestamp x", "!!set [a]", "!!binary é", "!!null x",
    "!!python/object/apply:os.system [x]", "2026-99-99", "2026-01-01", "1:1:1", "0b", "0x", ".nan", ".inf", "&a [*a]", "*a", "<<: *a",
    "- - - -", "|\n  x", ">", "%YAML 9.9", "---", "...", "\t", "\x85", "\ufeff", "null", "~", "yes", "9" * 5000, "[" * 2000, "{" * 2000,
)  # fmt: skip
_PATHS = (
    "$", "", "$.", "$..", "$..*", "$.*", "$['", "$[0]", "$[?@.a]", "$[?@.a =~ /(/]", "$[?@.a =~ /(a+)+$/]", "$[?match(@.a, '(')]",
    "$[?search(@.a, '[')]", "$[?length(@.a) > 1]", "$[?nothing(@)]", "$[?(" + "(" * 900, "$[?" + "!" * 900 + "@]", "$" + "[?@" * 300, "$" + ".a" * 450,
    "$" + "..*" * 300, "$[" + "9" * 900 + "]", "$[1:2:0]", "$['a','b']", "$.message | $.a", "$.message & $.a", "^", "#", "~", "$.~", "$.message.#",
    "$['\\ud800']", "$['\\u12']", "$.state_update..a", "$.metadata.*.*.*",
)  # fmt: skip
_PATTERNS = (
    "(", ")", "[", "(?P<a", "(?P<a>x)(?P<a>y)", "a{1000}", "(a{1000}){1000}", "((a*)*)*", "(a+)+$", "\\", "\\C", "\\pX", "\\p{Greek}", "(?i)", "^", "$",
    "\\b", "x|", "[^\x00]", "(" * 500, "(?:" * 400 + "x" + ")" * 400, "\U0001f600{900}", "[[:alpha:]]", "[z-a]", "a**", "(?<=x)y",
)  # fmt: skip


class ConfiguredFuzzer:
    """One hostile input at a time; `directory` is for the files."""

    def __init__(self, rng: random.Random, shapes: WireShapes, documents: JsonShapes, directory: Path) -> None:
        self._rng = rng
        self._shapes = shapes
        self._documents = documents
        self._issuer = ECKey.generate_key("P-256", {"kid": "ec"})
        other = RSAKey.generate_key(2048, {"kid": "rsa"})
        self._public = [key.as_dict(private=False) for key in (self._issuer, other)]
        self._jwks = _json({"keys": self._public})
        self._jwks_path = directory / "jwks.json"
        self._token = _signed(self._issuer, _CLAIMS)
        self._some_tokens = (self._token, _signed(other, _CLAIMS, "RS256"), _signed(self._issuer, _CLAIMS, kid="rsa"))
        self._tokens = self._new_store()
        ca = Ca(directory)
        files = ca.issue("server")
        self._tls = TlsFiles(files.cert, files.key, ca.path)
        self._pem = {path: path.read_bytes() for path in self._tls.present()}
        self._now = 0.0
        self._server = ServerCertificates(self._tls, monotonic=self._monotonic)
        self._client = ClientCertificates(self._tls, monotonic=self._monotonic)
        self.parsers: tuple[tuple[str, Callable[[], object]], ...] = (
            ("tokens", self._verify_token),
            ("JWKS files", self._read_jwks),
            ("certificates", self._reload_certificates),
            ("redaction rules", self._read_rules),
        )

    # -- tokens

    def _new_store(self) -> TokenStore:
        _replace(self._jwks_path, self._jwks)
        self._readiness = Readiness()
        store = TokenStore(self._jwks_path, _TOKEN_RULES, self._readiness, GatewayMetrics())
        with capture_logs():
            assert store.refresh()
        return store

    def _verify_token(self) -> None:
        genuine = self._rng.random() < 0.4
        token = _signed(self._issuer, self._odd_claims()) if genuine else self._forged_token()
        if not self._tokens.recognises(token):
            raise Unauthenticated("is no token")
        verified = self._tokens.verify(token, NOW)
        assert verified.identity.tenant_id
        assert verified.valid_until > NOW, "taken, and has expired"
        # The signature's last character has bits that say nothing.
        assert genuine or token.rpartition(".")[0] == self._token.rpartition(".")[0], "taken, and nobody made it"

    def _odd_claims(self) -> dict[str, Any]:
        rng = self._rng
        claims = dict(_CLAIMS)
        for _ in range(rng.randrange(3)):
            claims[rng.choice((*_CLAIMS, "nbf", "iat", "jti"))] = rng.choice((*_ODD, rng.choice(HOSTILE_TEXTS)))
        return claims

    def _forged_token(self) -> str:
        """Three parts, one of them not as it was: damaged, other JSON, another algorithm, another key's signature."""
        rng = self._rng
        parts: list[bytes] = [part.encode() for part in self._token.split(".")]
        at = rng.randrange(3)
        match rng.randrange(5):
            case 0:
                parts[at] = self._shapes.damaged([parts[at]]).replace(b".", b"")
            case 1:
                parts[at] = _base64(self._documents.event())
            case 2:
                head = {"alg": rng.choice((*_ALGORITHMS, *_ODD)), "kid": rng.choice(("ec", "rsa", *_ODD))}
                for _ in range(rng.randrange(3)):
                    head[rng.choice(_HEADERS)] = rng.choice(_ODD)
                parts[0] = _base64(_json(head))
            case 3:
                nested = rng.choice((b"[", b'{"a":', b"[[]," * 3)) * rng.choice((10, 1000, 3000))
                parts[rng.randrange(2)] = _base64(nested)
            case _:
                parts[at] = rng.choice(HOSTILE_TEXTS).replace(".", "").encode()
        return b".".join(parts).decode("utf-8", rng.choice(("replace", "surrogateescape")))

    def _read_jwks(self) -> None:
        """A file that is refused changes nothing, and is told; one that is taken answers every token."""
        _replace(self._jwks_path, self._hostile_jwks())
        with capture_logs():
            taken = self._tokens.refresh()
        if taken:
            tokens, self._tokens = self._tokens, self._new_store()
            for token in self._some_tokens:
                try:
                    tokens.verify(token, NOW)
                except Unauthenticated:
                    continue
        else:
            assert self._readiness.conditions["oidc"], "refused, and nobody is told"
            self._tokens.verify(self._token, NOW)

    def _hostile_jwks(self) -> bytes:
        rng = self._rng
        keys: list[Any] = [dict(key) for key in self._public]
        match rng.randrange(6):
            case 0:
                return self._documents.damaged(self._jwks.decode())
            case 1:
                return _json({"keys": rng.choice((*_ODD, [*_ODD]))})
            case 2:
                return _json({"keys": keys * rng.choice((2, 50, 300))})
            case 3:
                return b'{"keys":' + rng.choice((b"[", b'{"a":', b"[{")) * rng.choice((10, 1000, 20_000))
            case _:
                for _ in range(rng.randint(1, 4)):
                    key = rng.choice(keys)
                    key[rng.choice(_KEY_NAMES)] = rng.choice((*_ODD, *_KEY_WORDS, rng.choice(HOSTILE_TEXTS)))
                return _json({"keys": keys})

    # -- certificates

    def _monotonic(self) -> float:
        return self._now

    def _reload_certificates(self) -> None:
        """Files that cannot be used change nothing; those that can are in force."""
        path = self._rng.choice(self._tls.present())
        content = self._shapes.damaged([self._pem[path]])
        if self._rng.random() < 0.3:
            content = self._rng.choice(list(self._pem.values()))
        before = self._server.current()
        with capture_logs():
            for wanted in (content, self._pem[path]):
                _replace(path, wanted)
                self._now += 2
                loaded = self._server.current()
                self._client.changed()
                read = (loaded.cert, loaded.key, loaded.ca)
                assert loaded is before or read == tuple(one.read_bytes() for one in self._tls.present())
        assert read == tuple(self._pem.values()), "good again, and not in force"

    # -- redaction

    def _read_rules(self) -> None:
        rng = self._rng
        text = _RULES
        match rng.randrange(5):
            case 0:
                text = self._documents.damaged(text).decode("utf-8", "replace")
            case 1:
                at = rng.randrange(len(text) + 1)
                text = text[:at] + rng.choice(_YAML) + text[at + rng.randrange(8) :]
            case 2:
                text = rng.choice(("", "version: 1\ntenants: ", "version: ")) + rng.choice(_YAML)
            case _:
                rule: dict[str, Any] = {"name": "x", "action": rng.choice(("drop", "mask", "hash"))}
                if rng.random() < 0.7:
                    rule["paths"] = [rng.choice((*_PATHS, self._damaged_path()))]
                if rng.random() < 0.6:
                    rule["patterns"] = [rng.choice((*_PATTERNS, rng.choice(HOSTILE_TEXTS)))]
                if rng.random() < 0.2:
                    rule[rng.choice(("name", "action", "mask", "paths", "patterns", "x"))] = rng.choice(_ODD)
                tenant = rng.choice(("*", "acme", *HOSTILE_TEXTS))
                text = json.dumps({"version": 1, "tenants": {tenant: {"rules": [rule]}}})
        rules = parse_rules(text)
        rules.of("acme")
        assert rules.fingerprint

    def _damaged_path(self) -> str:
        return self._documents.damaged(self._rng.choice(_PATHS)).decode("utf-8", "replace")[:1000]


def _signed(key: Key, claims: dict[str, Any], alg: str = "ES256", kid: str = "") -> str:
    return jwt.encode({"alg": alg, "kid": kid or key.kid}, claims, key, algorithms=[alg])


def _json(document: object) -> bytes:
    return json.dumps(document).encode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _replace(path: Path, content: bytes) -> None:
    """As who renews certificates does: a new file, so that the change shows."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(content)
    beside.replace(path)
