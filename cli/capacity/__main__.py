"""Make the generated part of a document anew (``make docs``): ``python -m cli.capacity docs/capacity.md``."""

from __future__ import annotations

import sys
from pathlib import Path

from cli.capacity.render import inserted

if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(inserted(path.read_text(encoding="utf-8")), encoding="utf-8")
