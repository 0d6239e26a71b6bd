"""The image and the services have no secret in them and no rights to spare."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
_SECRET = re.compile(r"(?i)password|passwd|secret|token|api_?key|credential|pepper")


def test_the_image_holds_no_secret() -> None:
    """An ENV, ARG or LABEL stays readable in the image's history, whatever a later layer does."""
    for line in re.sub(r"\\\n", " ", DOCKERFILE).splitlines():
        if re.match(r"\s*(ENV|ARG|LABEL)\b", line):
            assert not _SECRET.search(line), line
    assert not re.search(r"(?m)^\s*(ADD|COPY)\b.*(\.env|\.key|\.pem|keys\.json)\b", DOCKERFILE)
    assert not re.search(r"(?m)^\s*ADD\s+https?:", DOCKERFILE)


def test_the_last_user_is_not_root() -> None:
    final = DOCKERFILE.rsplit("FROM ", 1)[1]
    users = re.findall(r"(?m)^USER\s+(\S+)", final)
    assert users, "the final stage names no user"
    assert users[-1].partition(":")[0] not in ("root", "0")


def test_services_have_no_rights_to_spare() -> None:
    for name, service in SERVICES.items():
        assert not service.get("privileged"), name
        assert not {"network_mode", "pid", "ipc", "cap_add", "devices"} & service.keys(), name
        assert not any("docker.sock" in str(volume) for volume in service.get("volumes", [])), name
        if service["image"] == "chaukas-gateway":
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
            assert "no-new-privileges:true" in service["security_opt"], name


def test_passwords_come_from_the_environment() -> None:
    """The file has values for development only, and each can be replaced without editing it."""
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if _SECRET.search(variable) and value and not variable.endswith("_FILE"):
                assert re.fullmatch(r"\$\{[A-Z_]+:-(development-only)?\}", value), f"{name}: {variable}"
