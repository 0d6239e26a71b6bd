"""A fake gateway, and commands run against it as a shell would run them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from cli.client import register
from tests.unit.cli.fake_gateway import KEY, FakeGateway, serving

Run = Callable[..., Result]


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with serving() as fake:
        yield fake


@pytest.fixture
def run(gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("query", "--json")`: the command with the fake's endpoint and key in its environment."""
    monkeypatch.chdir(tmp_path)
    app = typer.Typer(pretty_exceptions_enable=False)
    register(app)
    environment = {
        "GATEWAY_ENDPOINT": gateway.endpoint,
        "CHAUKAS_API_KEY": KEY,
        "STACK_DIR": str(tmp_path / "no-stack"),
        "COLUMNS": "140",
    }

    def invoke(*arguments: str, stdin: bytes | None = None, env: dict[str, str] | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), input=stdin, env=environment | (env or {}))

    return invoke
