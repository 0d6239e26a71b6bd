from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.client.target import is_loopback, resolve
from cli.client.usage import WrongUsage


@pytest.fixture
def stack(tmp_path: Path) -> dict[str, str]:
    endpoints = {
        "http_url": "http://127.0.0.1:18080",
        "grpc_target": "127.0.0.1:15051",
        "tenant_id": "t",
        "project_id": "p",
    }
    (tmp_path / "stack.json").write_text(json.dumps({"endpoints": endpoints}))
    (tmp_path / "dev.key").write_text("ck_dev\n")
    return {"STACK_DIR": str(tmp_path)}


def test_a_local_stack_is_enough(stack: dict[str, str]) -> None:
    target = resolve(None, None, tls=False, environment=stack)
    assert (target.endpoint, target.api_key) == ("127.0.0.1:15051", "ck_dev")


def test_what_is_nearer_to_the_caller_wins(stack: dict[str, str]) -> None:
    settings = stack | {"GATEWAY_GRPC_HOST": "0.0.0.0", "GATEWAY_GRPC_PORT": "6000"}
    assert resolve(None, "ck_a", tls=False, environment=settings).endpoint == "127.0.0.1:6000"
    named = settings | {"GATEWAY_ENDPOINT": "gw.example:443", "CHAUKAS_API_KEY": "ck_env"}
    assert resolve(None, None, tls=False, environment=named).endpoint == "gw.example:443"
    chosen = resolve("other.example:1", "ck_option", tls=True, environment=named)
    assert (chosen.endpoint, chosen.api_key, chosen.tls) == ("other.example:1", "ck_option", True)


def test_without_anything_it_is_the_default_port(tmp_path: Path) -> None:
    environment = {"STACK_DIR": str(tmp_path), "CHAUKAS_API_KEY": "ck_x"}
    assert resolve(None, None, tls=False, environment=environment).endpoint == "127.0.0.1:50051"


def test_the_development_key_stays_on_this_machine(stack: dict[str, str]) -> None:
    with pytest.raises(WrongUsage, match=r"no API key for gw\.example:443"):
        resolve("gw.example:443", None, tls=True, environment=stack)
    assert resolve("localhost:1234", None, tls=False, environment=stack).api_key == "ck_dev"


def test_the_key_is_in_no_text(stack: dict[str, str]) -> None:
    assert "ck_dev" not in repr(resolve(None, None, tls=False, environment=stack))
    with pytest.raises(WrongUsage) as caught:
        resolve(None, "ck_se\ncret", tls=False, environment=stack)
    assert "cret" not in caught.value.format_message()


@pytest.mark.parametrize("endpoint", ["localhost", "http://127.0.0.1:8080", ":50051", "h:0", "h:65536", "h:port"])
def test_what_is_no_endpoint(endpoint: str) -> None:
    with pytest.raises(WrongUsage, match="host:port"):
        resolve(endpoint, "ck_x", tls=False, environment={})


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("127.0.0.1:1", True),
        ("127.8.8.8:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("10.0.0.1:1", False),
        ("localhost.example:1", False),
        ("0.0.0.0:1", False),
    ],
)
def test_loopback(endpoint: str, local: bool) -> None:
    assert is_loopback(endpoint) is local
