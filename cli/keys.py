"""`keys create|list|rotate|revoke`: the file of API keys the gateway reads (it notices changes by itself)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from contracts.api_keys import StoredKey, generate
from contracts.identity import RateLimits, Scope
from contracts.validation import id_problem
from runtime.keyfile import InvalidKeyFile, changing, read_keys, write_keys
from runtime.pepper import make_pepper
from runtime.settings import GatewaySettings, InvalidSettings, load

keys = typer.Typer(help="The API keys in the gateway's key file.", no_args_is_help=True)

_DAY_SECONDS = 86_400.0
#: What a key may do when nobody says: nothing asks for `admin` (docs/security.md).
_SCOPES = (Scope.INGEST, Scope.QUERY)
#: How long the old key of a rotation works on when nobody says, seconds.
_GRACE_SECONDS = 3_600.0

KeyFile = Annotated[
    Path | None, typer.Option("--file", help="The key file; default: GATEWAY_KEYS_FILE.", show_default=False)
]
KeyId = Annotated[str, typer.Argument(help="The id, as `keys list` shows it.")]
Days = Annotated[float | None, typer.Option(min=0.0, help="Days until it expires. Default: never.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.add_typer(keys, name="keys")


@keys.command()
def create(
    tenant: Annotated[str, typer.Option(help="The tenant the key is bound to.")],
    project: Annotated[list[str] | None, typer.Option(help="A project it may use; repeat. Default: all.")] = None,
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it may do; repeat. Default: ingest and query.")
    ] = None,
    label: Annotated[str, typer.Option(help="For whom it is.")] = "",
    days: Days = None,
    events_per_second: Annotated[
        float | None, typer.Option(min=0.0, metavar="N", help="A quota of its own; default: the gateway's for keys.")
    ] = None,
    bytes_per_second: Annotated[
        float | None, typer.Option(min=0.0, metavar="N", help="A quota of its own; default: the gateway's for keys.")
    ] = None,
    if_empty: Annotated[bool, typer.Option("--if-empty", help="Do nothing when the file already has a key.")] = False,
    file: KeyFile = None,
) -> None:
    """Create a key and print it. It is shown this once: the file holds only a hash."""
    for option, value in (("--tenant", tenant), *(("--project", name) for name in project or ())):
        if problem := id_problem(value) or ("" if value else "is empty"):
            _fail(f"{option} {problem}")
    with _changing(file) as stored:
        if if_empty and stored:
            typer.echo(f"{len(stored)} key(s) there already; none created", err=True)
            return
        limits = RateLimits(events_per_second or None, bytes_per_second or None)
        expires = _expiry(days)
        text, entry = generate(
            tenant, project or None, scope or _SCOPES, label=label, expires_at=expires, limits=limits
        )
        stored[entry.key_id] = entry
    typer.echo(text)


@keys.command("list")
def list_keys(file: KeyFile = None) -> None:
    """Show the keys of the file: id, tenant, projects, scopes, quotas, expiry, label."""
    now = time.time()
    for key in _read(_settings(file).keys_file).values():
        identity = key.identity
        projects = "all projects" if identity.projects is None else ",".join(sorted(identity.projects))
        scopes = ",".join(sorted(identity.scopes))
        limits = " ".join(
            f"{rate:g} {kind}/s" for kind in ("events", "bytes") if (rate := identity.limits.rate(kind)) is not None
        )
        expires = _until(key.expires_at, now)
        shown = (key.key_id, identity.tenant_id, projects, scopes, limits, expires, key.label)
        typer.echo("  ".join(filter(None, shown)))


@keys.command()
def rotate(
    key_id: KeyId,
    grace: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="How long the old key works on; 0: not at all.")
    ] = _GRACE_SECONDS,
    days: Days = None,
    file: KeyFile = None,
) -> None:
    """Create a key that may do what KEY_ID may, and print it; KEY_ID expires after the grace. Later runs drop it from the file."""
    with _changing(file) as stored:
        old = stored.get(key_id)
        if old is None:
            _fail(f"there is no key {key_id}")
        identity = old.identity
        text, entry = generate(
            identity.tenant_id,
            identity.projects,
            identity.scopes,
            label=old.label,
            expires_at=_expiry(days),
            limits=identity.limits,
        )
        ends = time.time() + grace
        if grace and (old.expires_at is None or old.expires_at > ends):
            stored[key_id] = replace(old, expires_at=ends, rotated=True)
        elif not grace:
            del stored[key_id]
        stored[entry.key_id] = entry
    typer.echo(text)


@keys.command()
def revoke(key_id: KeyId, file: KeyFile = None) -> None:
    """Remove a key. Gateways refuse it as soon as they have read the file again: within a second or two."""
    with _changing(file) as stored:
        if stored.pop(key_id, None) is None:
            _fail(f"there is no key {key_id}")


@contextlib.contextmanager
def _changing(file: Path | None) -> Iterator[dict[str, StoredKey]]:
    """The keys of the file, written back at the end when they changed; those rotated away long enough ago are dropped."""
    settings = _settings(file)
    path = settings.keys_file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with changing(path):
            pepper = make_pepper(path, settings.keys_pepper.get_secret_value())
            before = _read(path, pepper) if path.exists() else {}
            stored = dict(before)
            yield stored
            now = time.time()
            kept = [key for key in stored.values() if not (key.rotated and (key.expires_at or now) < now)]
            if kept != list(before.values()) or not path.exists():
                write_keys(path, kept, pepper)
    except OSError as error:
        _fail(f"{error.filename or path} cannot be written: {error.strerror}")


def _settings(file: Path | None) -> GatewaySettings:
    try:
        return load(GatewaySettings, **({} if file is None else {"keys_file": file}))
    except InvalidSettings as error:
        _fail(str(error))


def _read(path: Path, pepper: bytes | None = None) -> dict[str, StoredKey]:
    try:
        return read_keys(path, pepper)
    except InvalidKeyFile as error:
        _fail(str(error))


def _expiry(days: float | None) -> float | None:
    return None if days is None else time.time() + days * _DAY_SECONDS


def _until(expires_at: float | None, now: float) -> str:
    if expires_at is None:
        return ""
    if expires_at <= now:
        return "expired"
    return time.strftime("until %Y-%m-%dT%H:%M:%SZ", time.gmtime(expires_at))


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
