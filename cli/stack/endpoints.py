"""Where a running stack is reached, and with what: the record ``up`` leaves for ``status``, the client commands and tests."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: Name of the record in the stack's directory.
STACK_FILE = "stack.json"
#: Name of the file with the development key, readable for its owner only.
KEY_FILE = "dev.key"


class NoStack(Exception):
    """No stack was ever started in this directory, or its record is damaged; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What a client needs. `api_key` is a secret: printed only by ``up`` itself."""

    #: Base URL of the HTTP door, also what the SDK takes as its endpoint: ``http://127.0.0.1:8080``.
    http_url: str
    #: ``host:port`` of the gRPC door.
    grpc_target: str
    api_key: str
    tenant_id: str
    project_id: str
    #: ``host:port`` of the broker.
    kafka_bootstrap_servers: str = ""

    def exports(self) -> list[str]:
        """Shell lines that make an agent with the unmodified SDK send here."""
        values = {
            "CHAUKAS_ENDPOINT": self.http_url,
            "CHAUKAS_API_KEY": self.api_key,
            "CHAUKAS_TENANT_ID": self.tenant_id,
            "CHAUKAS_PROJECT_ID": self.project_id,
        }
        return [f"export {name}={shlex.quote(value)}" for name, value in values.items()]

    def public(self) -> dict[str, Any]:
        """The record without the key."""
        record = asdict(self)
        del record["api_key"]
        return record


def load_endpoints(directory: Path) -> Endpoints:
    """The endpoints of the stack in `directory`, running or not. Reads two small files. Raises :class:`NoStack`."""
    try:
        record = json.loads((directory / STACK_FILE).read_text(encoding="utf-8"))
        key = (directory / KEY_FILE).read_text(encoding="utf-8").strip()
        return Endpoints(api_key=key, **record["endpoints"])
    except FileNotFoundError:
        raise NoStack(
            f"no stack in {directory}: start one with `chaukas-gateway up` (STACK_DIR names another directory)"
        ) from None
    except PermissionError as error:
        raise NoStack(f"{error.filename} cannot be read: it belongs to another user") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise NoStack(
            f"{directory / STACK_FILE} is damaged: run `chaukas-gateway down`, then `chaukas-gateway up`"
        ) from None
