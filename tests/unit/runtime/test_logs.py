"""What libraries log about requests of strangers."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import logging
from runtime.logs import configure
from runtime.settings.base import LogFormat, LogLevel
for _ in range(2):
    configure("gateway", LogLevel.DEBUG, LogFormat.JSON)
grpc, uvicorn = logging.getLogger("grpc._cython.cygrpc"), logging.getLogger("uvicorn.error")
for number in range(1000):
    try:
        b"\\xff".decode()
    except UnicodeDecodeError:
        grpc.exception("Invalid encoding on %s", b"Bearer ck_the_key_itself")
    uvicorn.warning("Invalid HTTP request received.")
    grpc.error("ExecuteBatchError raised in core by servicer method [/x]")
grpc.error("something else")
logging.getLogger("urllib3.connectionpool").debug("GET /?param_text=a prompt")
"""


def test_strangers_fill_no_log() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    assert sum("a request cannot be read" in line for line in lines) == 2
    assert sum("something else" in line for line in lines) == 1
    assert "ck_the_key_itself" not in done.stderr
    assert "Traceback" not in done.stderr
