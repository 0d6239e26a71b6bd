"""An OIDC issuer's tokens at both doors, beside API keys. No Kafka: these are about who gets in."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from chaukas.spec.server.v1 import server_pb2
from joserfc import jwt
from joserfc.jwk import RSAKey

from runtime.settings import KafkaSettings, load
from tests.integration.gateway.harness import PROJECT, TENANT, FakeSink, Key, RunningGateway, batch_request
from tests.support.events import event
from tests.support.waiting import wait_for

NO_KAFKA = load(KafkaSettings, bootstrap_servers="127.0.0.1:1")
SIGNING = RSAKey.generate_key(2048, {"kid": "one"})


def token(key: RSAKey = SIGNING, **claims: Any) -> Key:
    said = {
        "iss": "https://issuer",
        "aud": "chaukas",
        "exp": int(time.time()) + 600,
        "sub": "agent",
        "tenant_id": TENANT,
        "projects": [PROJECT],
        "scope": "ingest query",
        **claims,
    }
    return Key(jwt.encode({"alg": "RS256", "kid": "one"}, said, key))


class Issuer:
    def __init__(self, directory: Path) -> None:
        self.path = directory / "jwks.json"
        self.publish(SIGNING)
        self.sink = FakeSink(lambda method, request, context: b"")
        self.gateway = RunningGateway(
            NO_KAFKA,
            directory,
            oidc_jwks_file=self.path,
            oidc_issuer="https://issuer",
            oidc_audience="chaukas",
            sink_target=f"127.0.0.1:{self.sink.port}",
            deadline_seconds=1,
            shutdown_seconds=0.5,
        )

    def publish(self, *keys: RSAKey) -> None:
        self.path.write_text(json.dumps({"keys": [key.as_dict(private=False) for key in keys]}))

    def codes(self, key: Key) -> tuple[int, str]:
        """Of a query at both doors."""
        answer = self.gateway.http.post("/stats", headers=key.headers)
        try:
            self.gateway.server.GetEventStats(server_pb2.GetEventStatsRequest(), metadata=key.metadata)
            code = "OK"
        except grpc.RpcError as error:
            code = error.code().name
        return answer.status_code, code


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    made = Issuer(tmp_path_factory.mktemp("issuer"))
    yield made
    made.gateway.stop()
    made.sink.stop()


def test_a_token_is_as_good_as_a_key_and_the_sink_hears_whose_it_is(issuer: Issuer) -> None:
    assert issuer.codes(token()) == (200, "OK")
    _, _, identity, metadata = issuer.sink.calls[-1]
    assert (identity.tenant_id, identity.projects) == (TENANT, frozenset({PROJECT}))
    assert "authorization" not in metadata, "the token itself goes no further"
    assert issuer.codes(issuer.gateway.keys.full) == (200, "OK")


def test_what_it_does_not_say_it_does_not_get(issuer: Issuer) -> None:
    assert issuer.codes(token(scope="ingest")) == (403, "PERMISSION_DENIED")
    assert issuer.codes(token(exp=int(time.time()) - 60)) == (401, "UNAUTHENTICATED")
    assert issuer.codes(token(RSAKey.generate_key(2048, {"kid": "one"}))) == (401, "UNAUTHENTICATED")
    foreign = batch_request([event(tenant=TENANT, project="other"), event(tenant="other", project=PROJECT)])
    answer = issuer.gateway.server.IngestEventBatch(foreign, metadata=token().metadata)
    assert (answer.accepted_count, answer.rejected_count) == (0, 2)


def test_a_withdrawn_key_ends_its_tokens_on_open_connections(issuer: Issuer) -> None:
    good = token()
    assert issuer.codes(good) == (200, "OK")
    issuer.publish(RSAKey.generate_key(2048, {"kid": "two"}))
    wait_for("the token to end", lambda: issuer.codes(good) == (401, "UNAUTHENTICATED"), seconds=10)
    issuer.publish(SIGNING)
    wait_for("the token to be good again", lambda: issuer.codes(good) == (200, "OK"), seconds=10)
