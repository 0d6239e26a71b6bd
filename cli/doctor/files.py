"""Files and directories: API keys, and room on the disks."""

from __future__ import annotations

import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cli.doctor.findings import Finding, Severity
from cli.doctor.site import Site
from cli.render.text import plural
from runtime.keyfile import InvalidKeyFile, read_keys
from runtime.pepper import find_pepper

KEYS, DISK = "keys", "disk"
#: A key that expires sooner is worth a word, days.
SOON_DAYS = 14
#: Kafka and ClickHouse stop when nothing is left: shares of the disk, and bytes.
LITTLE_SHARE, LEAST_SHARE, LEAST_BYTES = 0.15, 0.05, 1024**3


def keys(site: Site, now: Callable[[], float] = time.time) -> Iterator[Finding]:
    """The gateway's key file: readable, sealed with the pepper that is here, private, not expired."""
    if site.gateway is None:
        yield Finding(KEYS, "key file", Severity.SKIPPED, "the gateway's settings do not load")
        return
    path = site.gateway.keys_file
    if not path.exists() and not site.says("GATEWAY_KEYS_FILE"):
        yield Finding(KEYS, str(path), Severity.SKIPPED, "not on this machine", "set GATEWAY_KEYS_FILE to look at it")
        return
    try:
        stored = read_keys(path, find_pepper(path, site.gateway.keys_pepper.get_secret_value()))
        mode = stat.S_IMODE(path.stat().st_mode)
    except InvalidKeyFile as error:
        yield Finding(
            KEYS, str(path), Severity.ERROR, str(error), "the gateway goes on with the keys it has read before"
        )
        return
    except OSError as error:
        yield Finding(KEYS, str(path), Severity.ERROR, f"cannot be looked at: {error.strerror}")
        return
    if mode & 0o077:
        yield Finding(KEYS, str(path), Severity.WARNING, f"mode {mode:04o}: others may read it", f"chmod 600 {path}")
    alive = 0
    for key in stored.values():
        left = None if key.expires_at is None else (key.expires_at - now()) / 86_400
        subject = f"key {key.key_id} of {key.identity.tenant_id}"
        if left is not None and left <= 0:
            yield Finding(
                KEYS,
                subject,
                Severity.WARNING,
                f"expired {-left:.0f} days ago",
                f"`chaukas-gateway keys revoke {key.key_id}`",
            )
        elif left is not None and left < SOON_DAYS:
            yield Finding(
                KEYS,
                subject,
                Severity.WARNING,
                f"expires in {left:.1f} days",
                "`chaukas-gateway keys create`, and hand it over",
            )
        alive += left is None or left > 0
    if not alive:
        yield Finding(
            KEYS,
            str(path),
            Severity.ERROR,
            "no valid key: every caller is refused",
            "`chaukas-gateway keys create --tenant …`",
        )
    else:
        yield Finding(KEYS, str(path), Severity.OK, f"{plural(alive, 'valid key')}")


def disk(site: Site, usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage) -> Iterator[Finding]:
    """Room where this machine keeps data: the local stack's directory, the embedded engine's."""
    seen = set()
    for path in _directories(site):
        if not path.is_dir() or (device := path.stat().st_dev) in seen:
            continue
        seen.add(device)
        total, _, free = usage(path)
        share = free / total if total else 0.0
        message = f"{free / 1024**3:.1f} GiB of {total / 1024**3:.0f} free ({share:.0%})"
        remedy = (
            "make room, or shorten retention (docs/store.md, docs/topics.md): a full disk stops Kafka and the store"
        )
        if share < LEAST_SHARE or free < LEAST_BYTES:
            yield Finding(DISK, str(path), Severity.ERROR, message, remedy)
        elif share < LITTLE_SHARE:
            yield Finding(DISK, str(path), Severity.WARNING, message, remedy)
        else:
            yield Finding(DISK, str(path), Severity.OK, message)
    if not seen:
        yield Finding(DISK, "data", Severity.SKIPPED, "no data directory on this machine")


def _directories(site: Site) -> Iterator[Path]:
    if site.record is not None:
        yield site.directory
    if site.sink is not None:
        parts = urlsplit(site.sink.clickhouse_dsn.get_secret_value())
        if parts.scheme == "chdb":
            yield Path(unquote(parts.path.removeprefix("/")))
