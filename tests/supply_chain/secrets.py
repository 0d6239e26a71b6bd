"""``python -m tests.supply_chain.secrets [--update]``: secrets in tracked files, by detect-secrets and by our own keys' shape.

``.secrets.baseline`` holds what was looked at and is none (examples, passwords of tests), as hashes by file: a line that moves is
no finding. ``--update`` writes it anew; who does that looks at the difference.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import transient_settings

from contracts import api_keys
from contracts.errors import Unauthenticated

ROOT = Path(__file__).parents[2]
BASELINE = ROOT / ".secrets.baseline"
#: Not the two that guess by entropy: hashes of locks and descriptors are all they find here.
PLUGINS = (
    "ArtifactoryDetector", "AWSKeyDetector", "AzureStorageKeyDetector", "BasicAuthDetector", "GitHubTokenDetector",
    "GitLabTokenDetector", "JwtTokenDetector", "KeywordDetector", "NpmDetector", "OpenAIDetector", "PrivateKeyDetector",
    "PypiTokenDetector", "SlackDetector", "StripeDetector",
)  # fmt: skip
#: Generated, or locks: only hashes.
_LEFT_OUT = re.compile(r"requirements/.*\.txt|contracts/v1/.*_pb2.*|cli/stack/jars\.lock.*|\.secrets\.baseline")
_OWN_KEY = re.compile(r"ck_[0-9a-f]{12}_[a-z2-7]{39}")

#: File, kind, hash.
Finding = tuple[str, str, str]


def tracked() -> list[str]:
    """Files of the repository that are looked at."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name and not _LEFT_OUT.fullmatch(name)]


def scan(root: Path, names: list[str]) -> dict[Finding, int]:
    """What looks like a secret, with a line of it."""
    found: dict[Finding, int] = {}
    with transient_settings({"plugins_used": [{"name": name} for name in PLUGINS]}):
        for name in names:
            collection = SecretsCollection(root=str(root))
            collection.scan_file(name)
            for _, secret in collection:
                found[name, secret.type, secret.secret_hash] = secret.line_number
            found |= dict(_own_keys(root, name))
    return found


def _own_keys(root: Path, name: str) -> Iterator[tuple[Finding, int]]:
    """API keys with a right checksum: the shape alone could be an example."""
    try:
        lines = (root / name).read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, FileNotFoundError):
        return
    for number, line in enumerate(lines, 1):
        for match in _OWN_KEY.finditer(line):
            try:
                api_keys.check(match[0], {}, 0.0)
            except Unauthenticated as error:
                if "unknown" in str(error):
                    yield (name, "Chaukas API key", api_keys.hash_secret(match[0])), number


def known() -> set[Finding]:
    """The baseline."""
    return {(name, kind, hashed) for name, kind, hashed in json.loads(BASELINE.read_text())}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.supply_chain.secrets", description=__doc__)
    parser.add_argument("--update", action="store_true", help="take what is found into the baseline")
    update = parser.parse_args().update
    found = scan(ROOT, tracked())
    if update:
        BASELINE.write_text("[\n" + ",\n".join(json.dumps(one) for one in sorted(found)) + "\n]\n")
        return 0
    new = sorted(found.keys() - known())
    for name, kind, _ in new:
        print(f"{name}:{found[name, kind, _]}: {kind}: remove it, or look at it and `make secrets-baseline`")
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main())
