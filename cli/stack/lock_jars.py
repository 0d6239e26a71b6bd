"""Renew ``kafka_jars.txt``: ``python -m cli.stack.lock_jars`` after a change of the versions in :mod:`cli.stack.jars`.

Resolves through Maven's metadata and downloads into an empty repository, where jgo compares each jar with the checksum its
repository publishes, so that no damaged local copy is ever pinned.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from pathlib import Path

import jgo
from jgo.maven import MavenContext, PythonResolver

from cli.stack.jars import ENDPOINT, LOCK_FILE, Jar


def lock() -> list[Jar]:
    """Resolve and download everything. Blocks for about half a minute. Raises what jgo raises."""
    jars = []
    with tempfile.TemporaryDirectory() as directory:
        context = MavenContext(resolver=PythonResolver(), repo_cache=Path(directory), timeout=60)
        for found in jgo.resolve(ENDPOINT):
            artifact = context.project(found.groupId, found.artifactId).at_version(found.version).artifact()
            content = Path(artifact.resolve()).read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            jars.append(Jar(found.groupId, found.artifactId, found.version, len(content), digest))
    return jars


def main() -> None:
    logging.basicConfig(level=logging.WARNING)  # jgo warns of a wrong checksum
    header = f"# {ENDPOINT}, resolved; written by python -m cli.stack.lock_jars\n"
    target = Path(__file__).with_name(LOCK_FILE)
    target.write_text(header + "".join(f"{jar.to_line()}\n" for jar in lock()), encoding="utf-8")


if __name__ == "__main__":
    main()
