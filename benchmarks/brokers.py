"""The broker that a benchmark measures with."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.broker import Broker


@contextmanager
def running_broker(proxied: Sequence[str] = ()) -> Iterator[tuple[Broker, Path]]:
    """A real broker, and a directory for what else runs; both go in the end. `proxied` as in :meth:`Broker.prepare`."""
    # What was killed a moment ago may still write.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        broker = Broker.prepare(Path(directory) / "kafka", proxied)
        try:
            broker.start()
            yield broker, Path(directory)
        finally:
            broker.close()
