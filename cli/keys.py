"""`keys create`, `keys list`, `keys revoke`: the file of API keys the gateway reads (it notices changes by itself)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from contracts.api_keys import StoredKey, generate
from contracts.identity import Scope
from runtime.keyfile import InvalidKeyFile, read_keys, write_keys
from runtime.settings import GatewaySettings, InvalidSettings, load

keys = typer.Typer(help="The API keys in the gateway's key file.", no_args_is_help=True)

KeyFile = Annotated[
    Path | None, typer.Option("--file", help="The key file; default: GATEWAY_KEYS_FILE.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.add_typer(keys, name="keys")


@keys.command()
def create(
    tenant: Annotated[str, typer.Option(help="The tenant the key is bound to.")],
    project: Annotated[list[str] | None, typer.Option(help="A project it may use; repeat. Default: all.")] = None,
    scope: Annotated[list[Scope] | None, typer.Option(help="What it may do; repeat. Default: all.")] = None,
    label: Annotated[str, typer.Option(help="For whom it is.")] = "",
    days: Annotated[float | None, typer.Option(min=0.0, help="Days until it expires. Default: never.")] = None,
    if_empty: Annotated[bool, typer.Option("--if-empty", help="Do nothing when the file already has a key.")] = False,
    file: KeyFile = None,
) -> None:
    """Create a key and print it. It is shown this once: the file holds only a hash."""
    path = _path(file)
    existing = _read(path) if path.exists() else {}
    if if_empty and existing:
        typer.echo(f"{path} has {len(existing)} key(s) already; none created", err=True)
        return
    expires_at = None if days is None else time.time() + days * 86400
    text, stored = generate(tenant, project or None, scope or list(Scope), label=label, expires_at=expires_at)
    _write(path, [*existing.values(), stored])
    typer.echo(text)


@keys.command("list")
def list_keys(file: KeyFile = None) -> None:
    """Show the keys of the file: id, tenant, projects, scopes, label."""
    for key in _read(_path(file)).values():
        identity = key.identity
        projects = "all projects" if identity.projects is None else ",".join(sorted(identity.projects))
        scopes = ",".join(sorted(identity.scopes))
        typer.echo(f"{key.key_id}  {identity.tenant_id}  {projects}  {scopes}  {key.label}".rstrip())


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The id, as `keys list` shows it.")], file: KeyFile = None
) -> None:
    """Remove a key. The gateway refuses it as soon as it has read the file again."""
    path = _path(file)
    existing = _read(path)
    if existing.pop(key_id, None) is None:
        _fail(f"{path} has no key {key_id}")
    _write(path, list(existing.values()))


def _path(file: Path | None) -> Path:
    if file is not None:
        return file
    try:
        return load(GatewaySettings).keys_file
    except InvalidSettings as error:
        _fail(str(error))


def _read(path: Path) -> dict[str, StoredKey]:
    try:
        return read_keys(path)
    except InvalidKeyFile as error:
        _fail(str(error))


def _write(path: Path, stored: list[StoredKey]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_keys(path, stored)
    except OSError as error:
        _fail(f"{path} cannot be written: {error.strerror}")


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
