"""The stores of callers that the settings name."""

from __future__ import annotations

from gateway.auth import Authenticator, CredentialStore
from gateway.key_store import KeyStore
from gateway.metrics import GatewayMetrics
from gateway.token_store import TokenRules, TokenStore
from runtime.health import Readiness
from runtime.settings import GatewaySettings

_NO_CLAIM = "-"


def authenticator(settings: GatewaySettings, readiness: Readiness, metrics: GatewayMetrics) -> Authenticator:
    """API keys, and an issuer's tokens when its keys are given. Blocks for the first read of the files."""
    stores: list[CredentialStore] = [
        KeyStore(settings.keys_file, readiness, metrics, settings.keys_pepper.get_secret_value())
    ]
    if settings.oidc_jwks_file is not None:
        claim = settings.oidc_projects_claim
        rules = TokenRules(
            issuer=settings.oidc_issuer,
            audience=settings.oidc_audience,
            algorithms=tuple(settings.oidc_algorithms.split(",")),
            leeway_seconds=settings.oidc_leeway_seconds,
            tenant_claim=settings.oidc_tenant_claim,
            projects_claim="" if claim == _NO_CLAIM else claim,
            scopes_claim=settings.oidc_scopes_claim,
        )
        stores.append(TokenStore(settings.oidc_jwks_file, rules, readiness, metrics))
    return Authenticator(stores)
